"""Stored checkpoints as OCI images, for export: `<registry>/<namespace>/<kind>-<name>/<container>:<checkpoint id>`.

Nothing is recorded: a reference says which manifest it is made of, and a blob is found among its workload's checkpoints.
"""

from dataclasses import dataclass

from reprise.archive.layout import Lineage
from reprise.archive.manifest import Manifest
from reprise.archive.oci import build_image, digest
from reprise.contracts.model import Workload

REGISTRY = "localhost:5797"
"""Every node's own: transfer's registry_port."""


@dataclass(frozen=True)
class ImageRef:
    """A checkpoint's image. digest: of its image manifest."""

    reference: str
    digest: str


def image_of(manifest: Manifest) -> ImageRef:
    """The image that the registry of any node makes of this checkpoint."""
    reference = image_reference(manifest.workload, manifest.target.container, manifest.checkpoint_id)
    return ImageRef(reference, digest(build_image(manifest)[0]))


def image_reference(workload: Workload, container: str, checkpoint_id: str) -> str:
    """What a checkpoint's image is called."""
    return f"{REGISTRY}/{workload.namespace}/{workload.kind.lower()}-{workload.name}/{container}:{checkpoint_id}"


def lineage_of(namespace: str, workload: str, container: str) -> Lineage:
    """Of a repository's name, in which `workload` is `<kind>-<name>`."""
    kind, _, name = workload.partition("-")
    return Lineage(namespace, f"{kind}.{name}", container)


def blob_of(manifest: Manifest, wanted: str) -> bytes | Manifest | None:
    """By digest: the image's manifest or config as bytes; the checkpoint's manifest if its archive is the layer; else None."""
    if wanted == f"sha256:{manifest.sha256}":
        return manifest
    return next((body for body in build_image(manifest) if digest(body) == wanted), None)
