"""Images for nodes with containerd, which has no read-only store that nodes could share, as CRI-O's have.

One containerd root is kept beside the cache as a template: what changed is imported there once. A node's first disk is made of
it: the databases are copied, blobs are hard links, and each layer is a symlink to the template's, which every node mounts at
/lab/layers. Later it imports what it lacks, on its own disk; a layer that it has is not carried again.
"""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reprise_lab import images
from reprise_lab.paths import HOME, NODES, RUN
from reprise_lab.shell import run

STATE = "var/lib/containerd"
TEMPLATE = HOME / "containerd"
LAYOUT = HOME / "oci"
"""Every image as OCI, with the layers that they share once."""
NOTE = "reprise-lab-images.json"
INCOMING = "reprise-lab-incoming.tar"
IMPORT = ("ctr", "-n", "k8s.io", "images", "import", "--local")
CONTENT = "io.containerd.content.v1.content"
DATABASE = "io.containerd.metadata.v1.bolt/meta.db"
SNAPSHOTTER = "io.containerd.snapshotter.v1.overlayfs"
ALONE = """set -e
p=io.containerd
printf 'version = 3\\ndisabled_plugins = ["%s", "%s", "%s"]\\n' $p.cri.v1.images $p.cri.v1.runtime $p.grpc.v1.cri >/run/alone.toml
[ $1 = keep ] && printf '[plugins."%s"]\\nmutation_threshold = 0\\nstartup_delay = "9h"\\n' $p.gc.v1.scheduler >>/run/alone.toml
containerd -c /run/alone.toml -l warn >/run/alone.log 2>&1 & pid=$!
for i in $(seq 200); do ctr version >/dev/null 2>&1 && break; sleep 0.05; done
"${@:2}" || { cat /run/alone.log >&2; exit 1; }
kill $pid; wait $pid || true
"""
"""A containerd that only keeps images, for as long as a command runs. keep: it collects no garbage, nodes use its layers."""


def publish() -> None:
    """The template has every image in its newest form afterwards."""
    TEMPLATE.mkdir(parents=True, exist_ok=True)
    garbage = "keep" if any((RUN / name / "data").exists() for name in NODES) else "collect"
    bring(TEMPLATE, lambda *words: images.builder("bash", "-c", ALONE, "bash", garbage, *words))


def furnish(root: Path) -> None:
    """A node's first disk."""
    if root.exists():
        return
    new = root.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    layers = new / SNAPSHOTTER / "snapshots"
    layers.mkdir(parents=True)
    run("cp", "-al", TEMPLATE / CONTENT, new)
    for name in (DATABASE, f"{SNAPSHOTTER}/metadata.db", NOTE):
        (new / name).parent.mkdir(exist_ok=True)
        shutil.copy(TEMPLATE / name, new / name)
    for layer in (TEMPLATE / SNAPSHOTTER / "snapshots").iterdir():
        (layers / layer.name).symlink_to(f"/lab/layers/{layer.name}")
    new.rename(root)


def bring(root: Path, execute: Callable[..., object]) -> None:
    """Import what a containerd root lacks. execute: runs a command where that root is at /var/lib/containerd."""
    note = root / NOTE
    known: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
    lacking = {name: key for name, key in images.built().items() if known.get(name) != key}
    if not lacking:
        return
    _export(lacking)
    tar = root / INCOMING
    try:
        pack(tar, {images.reference(name) for name in lacking}, root / CONTENT / "blobs/sha256")
        execute(*IMPORT, f"/{STATE}/{INCOMING}")
    finally:
        tar.unlink(missing_ok=True)
    new = note.with_suffix(".new")
    new.write_text(json.dumps(known | lacking))
    new.rename(note)


def _export(wanted: dict[str, str]) -> None:
    """From the store that buildah fills into the layout, once."""
    note = LAYOUT / NOTE
    LAYOUT.mkdir(parents=True, exist_ok=True)
    known: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
    stale = [name for name, key in wanted.items() if known.get(name) != key]
    if not stale:
        return
    copy = "skopeo copy -q --dest-oci-accept-uncompressed-layers containers-storage:$r oci:/lab/oci:$r"
    script = f'set -e; for r in "$@"; do {copy}; done'
    images.builder("bash", "-c", script, "bash", *map(images.reference, stale))
    note.write_text(json.dumps(known | {name: wanted[name] for name in stale}))
    _prune()


def _blobs(manifest: dict[str, Any]) -> Iterator[str]:
    yield manifest["digest"]
    inner = json.loads(_blob(manifest["digest"]).read_text())
    yield inner["config"]["digest"]
    for layer in inner["layers"]:
        yield layer["digest"]


def _blob(digest: str) -> Path:
    return LAYOUT / "blobs" / "sha256" / digest.removeprefix("sha256:")


REF = "org.opencontainers.image.ref.name"


def _manifests() -> list[dict[str, Any]]:
    """Of every image in its newest form: skopeo leaves the one before in the index, without a name."""
    return [m for m in json.loads((LAYOUT / "index.json").read_text())["manifests"] if REF in m.get("annotations", {})]


def _prune() -> None:
    (LAYOUT / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": _manifests()}))
    used = {digest.removeprefix("sha256:") for manifest in _manifests() for digest in _blobs(manifest)}
    for blob in (LAYOUT / "blobs/sha256").iterdir():
        if blob.name not in used:
            blob.unlink()


def pack(tar: Path, references: set[str], present: Path) -> None:
    """An OCI archive of those images, without the blobs that are present."""
    chosen = [m for m in _manifests() if m["annotations"][REF] in references]
    index = tar.with_suffix(".index")
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": chosen}))
    with tarfile.open(tar, "w") as archive:
        archive.add(LAYOUT / "oci-layout", "oci-layout")
        archive.add(index, "index.json")
        for digest in sorted({digest for manifest in chosen for digest in _blobs(manifest)}):
            if not (present / digest.removeprefix("sha256:")).exists():
                archive.add(_blob(digest), f"blobs/sha256/{digest.removeprefix('sha256:')}")
    index.unlink()
