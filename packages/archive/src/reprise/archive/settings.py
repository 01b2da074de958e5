"""Where the object store is; every service that uses it reads these. Environment variables with the prefix `REPRISE_STORE_`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreSettings(BaseSettings):
    """Read once, in a service's main.py. Keys come from a Secret."""

    model_config = SettingsConfigDict(env_prefix="REPRISE_STORE_", frozen=True)

    endpoint: str = Field(default="minio:9000", pattern=r"^[^/]+$")
    """host:port, without a scheme."""
    access_key: str = ""
    secret_key: SecretStr = SecretStr("")
    bucket: str = "reprise"
    secure: bool = False
    """TLS. The certificate is always verified."""
    ca_file: Path | None = None
    """The one CA to trust (PEM); the system's where none is named."""
    region: str = "us-east-1"
    addressing: Literal["path", "virtual"] = "path"
    """path: host/bucket/key; virtual: bucket.host/key."""
    connect_timeout_s: float = Field(default=3.0, gt=0)
    read_timeout_s: float = Field(default=30.0, gt=0)
    """Without a byte taken or answered."""
    attempts: int = Field(default=4, ge=1)
    """How often a request is tried where trying again can help."""
    connections: int = Field(default=16, ge=1)
    """Kept open at once; more threads than this open more for a while."""
