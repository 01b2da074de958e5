"""A checkpoint as an OCI image: nothing is built, the archive is its only layer and its digest is its diff id."""

import hashlib
import json

from reprise.archive.manifest import Manifest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def build_image(manifest: Manifest) -> tuple[bytes, bytes]:
    """(image manifest, image config).

    CRI-O looks for the first annotation, containerd for the second; both only on
    the manifest (CRI-O server/container_restore.go, containerd internal/cri/server/container_checkpoint_linux.go).
    """
    layer = f"sha256:{manifest.sha256}"
    config = json.dumps(
        {
            "architecture": manifest.architecture,
            "os": "linux",
            "created": manifest.taken_at.isoformat(),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer]},
        },
        sort_keys=True,
    ).encode()
    name = manifest.facts.container_name
    image = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": manifest.size}],
        "annotations": {
            "io.kubernetes.cri-o.annotations.checkpoint.name": name,
            "org.criu.checkpoint.container.name": name,
            "dev.reprise.checkpoint": manifest.checkpoint_id,
        },
    }
    return json.dumps(image, sort_keys=True).encode(), config
