"""The lab's checkpoint store, reached from this machine as its services reach it."""

import base64

from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings
from reprise.archive.store import Store

from reprise_lab import listing


def secret(name: str) -> dict[str, bytes]:
    data = listing.get(f"/api/v1/namespaces/reprise-system/secrets/{name}")["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def store() -> Store:
    address = listing.service_address("minio")
    access, key = (secret("reprise-store")[name].decode() for name in ("access-key", "secret-key"))
    return s3_store(StoreSettings.model_validate({"endpoint": f"{address}:9000", "access_key": access, "secret_key": key}))
