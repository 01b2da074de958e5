"""What is exported is what other tools read.

What they require was read in their sources: checkpointctl internal/utils.go (CreateTasks), internal/container.go and
lib/metadata.go; CRI-O server/container_restore.go (CRImportCheckpoint) and internal/lib/restore.go; podman
libpod/container_validate.go and cmd/podman/root.go.
"""

import errno
import io
import json
import os
import re
import shutil
import tarfile
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reprise.archive.export import ExportFailed, Form, export, size_of
from reprise.archive.manifest import Manifest
from reprise.archive.oci import digest
from reprise.archive.repository import Repository
from reprise.archive.testing import MemoryStore, slot_members, tasks, write_slot
from reprise.contracts.errors import DamagedObject
from reprise.contracts.model import Target, Workload

ENGINE = Path(__file__).parents[3] / "engine/internal/checkpoint/finish.go"
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="a0" * 32)
IMAGE_ID = "1f" * 32
CONFIG = {
    "id": "a0" * 32, "name": "k8s_counter_counter-1_default_u1_0", "rootfsImage": "counter:1", "rootfsImageRef": IMAGE_ID,
    "rootfsImageName": "registry.local/counter:1", "runtime": "reprise-runc",
    "createdTime": "2026-11-24T10:11:12.5Z", "checkpointedTime": "2026-11-24T11:11:12.5Z",
}  # fmt: skip
SPEC: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "annotations": {
        "io.container.manager": "cri-o", "io.kubernetes.cri-o.Annotations": '{"io.kubernetes.container.hash": "1"}',
        "io.kubernetes.cri-o.Metadata": '{"name": "counter"}', "io.kubernetes.cri-o.Created": "2026-11-24T10:11:12.5Z",
        "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.name": "counter-1",
    },
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
}  # fmt: skip


@pytest.fixture
def manifest(repository: Repository, tmp_path: Path) -> Manifest:
    """Of a slot as the engine writes it for CRI-O."""
    diff = io.BytesIO()
    with tarfile.open(fileobj=diff, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("tmp/state"), io.BytesIO())
    contents = slot_members() | tasks(1) | {
        "config.dump": json.dumps(CONFIG).encode(), "spec.dump": json.dumps(SPEC).encode(), "rootfs-diff.tar": diff.getvalue(),
        "deleted.files": b'["/tmp/gone"]', "checkpoint/descriptors.json": b'["/dev/null", "pipe:[1]", "pipe:[2]"]',
    }  # fmt: skip
    return repository.write_archive(
        write_slot(tmp_path / "slots/ck1", contents), checkpoint_id="ck1", target=TARGET, trigger="demand",
        workload=Workload(namespace="default", name="counter"),
    )  # fmt: skip


@pytest.fixture
def to(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out/file.tar"


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]


def test_the_tar_is_the_archive_bit_for_bit_and_for_its_owner_alone(repository: Repository, manifest: Manifest, to: Path) -> None:
    told: list[int] = []
    done = export(repository.open(manifest), to, Form.tar, on_write=told.append)
    assert digest(to.read_bytes()) == done.digest == f"sha256:{manifest.sha256}"
    assert sum(told) == done.size == to.stat().st_size
    assert to.stat().st_mode & 0o777 == 0o600
    assert os.listdir(to.parent) == [to.name]  # noqa: PTH208


def test_checkpointctl_finds_what_it_requires(repository: Repository, manifest: Manifest, to: Path) -> None:
    export(repository.open(manifest), to, Form.tar)
    with tarfile.open(to) as tar:
        # CreateTasks refuses an archive without a directory entry of this name.
        assert any(info.isdir() and info.name.startswith("checkpoint") for info in tar)
    found = read(to)
    assert {"spec.dump", "config.dump", "stats-dump", "dump.log", "rootfs-diff.tar", "deleted.files"} <= set(found)
    assert {"checkpoint/inventory.img", "checkpoint/pstree.img", "checkpoint/core-1.img", "checkpoint/pages-1.img"} <= set(found)
    config, annotations = json.loads(found["config.dump"]), json.loads(found["spec.dump"])["annotations"]
    for key in ("id", "name", "rootfsImageName", "runtime"):
        assert isinstance(config[key], str)
        assert config[key]
    for key in ("createdTime", "checkpointedTime"):
        assert datetime.fromisoformat(config[key]).tzinfo
    assert json.loads(annotations["io.kubernetes.cri-o.Metadata"])["name"] == "counter"
    assert all(isinstance(path, str) for path in json.loads(found["deleted.files"]))


def test_cri_o_finds_what_it_requires(repository: Repository, manifest: Manifest, to: Path) -> None:
    export(repository.open(manifest), to, Form.tar)
    found = read(to)
    assert re.fullmatch("[0-9a-f]{64}", json.loads(found["config.dump"])["rootfsImageRef"])
    assert isinstance(json.loads(json.loads(found["spec.dump"])["annotations"]["io.kubernetes.cri-o.Annotations"]), dict)
    # runc restore reads the container's stdio here; rootfs-diff.tar is unpacked uncompressed.
    assert len(json.loads(found["checkpoint/descriptors.json"])) == 3
    with tarfile.open(fileobj=io.BytesIO(found["rootfs-diff.tar"]), mode="r:") as tar:
        assert tar.getnames() == ["tmp/state"]


def test_the_engine_writes_the_fields_that_these_tests_assume() -> None:
    written = re.search(r'"config\.dump"\), map\[string\]any\{(.*?)\}\)', ENGINE.read_text(), re.DOTALL)
    assert written
    assert set(re.findall(r'"(\w+)":', written[1])) == set(CONFIG)


def test_podman_lacks_what_only_podman_writes(repository: Repository, manifest: Manifest, to: Path) -> None:
    """validate() refuses a name without an id, and `restore --import` runs the runtime of that name: docs/cli.md says so."""
    export(repository.open(manifest), to, Form.tar)
    found = read(to)
    config = json.loads(found["config.dump"])
    assert "rootfsImageID" not in config
    assert config["runtime"] == "reprise-runc"
    assert not {"network.status", "ctr.log", "devshm-checkpoint.tar"} & set(found)
    documented = (Path(__file__).parents[3] / "docs/cli.md").read_text()
    assert all(name in documented for name in ("rootfsImageID", "network.status", "ctr.log", "reprise-runc"))


def test_the_oci_archive_is_an_image_layout_whose_manifest_names_the_checkpoint(
    repository: Repository, manifest: Manifest, to: Path
) -> None:
    done = export(repository.open(manifest), to, Form.oci)
    assert to.stat().st_size == done.size == size_of(manifest, Form.oci)
    assert done.size % tarfile.RECORDSIZE == 0
    found = read(to)
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads(found["index.json"])["manifests"]
    assert (
        described["annotations"]["org.opencontainers.image.ref.name"] == "localhost:5797/default/deployment-counter/counter:ck1"
    )

    def blob(of: dict[str, Any]) -> bytes:
        data = found["blobs/sha256/" + of["digest"].removeprefix("sha256:")]
        assert (digest(data), len(data)) == (of["digest"], of["size"])
        return data

    image = json.loads(blob(described))
    assert described["digest"] == done.digest == repository.publish(manifest.workload, "counter", "ck1")[1]
    assert image["annotations"]["io.kubernetes.cri-o.annotations.checkpoint.name"] == manifest.facts.container_name
    assert image["annotations"]["org.criu.checkpoint.container.name"] == manifest.facts.container_name
    assert json.loads(blob(image["config"]))["rootfs"]["diff_ids"] == [image["layers"][0]["digest"]]
    assert blob(image["layers"][0]) == b"".join(repository.read_archive(manifest))


@pytest.mark.parametrize("form", list(Form))
def test_a_damaged_checkpoint_leaves_no_file(
    repository: Repository, manifest: Manifest, store: MemoryStore, to: Path, form: Form
) -> None:
    key = manifest.lineage.pack(manifest.packs[0].id)
    store.objects[key] = store.objects[key][:40] + b"other" + store.objects[key][45:]
    with pytest.raises(DamagedObject, match="ck1"):
        export(repository.open(manifest), to, form)
    assert not list(to.parent.iterdir())


def test_an_archive_whose_whole_is_not_what_was_stored_leaves_no_file(
    repository: Repository, manifest: Manifest, to: Path
) -> None:
    other = manifest.model_copy(update={"sha256": "0" * 64})
    opened = repository.open(manifest)
    with pytest.raises(DamagedObject, match="has sha256"):
        export(type(opened)(other, opened.recipe, opened.chunks), to, Form.tar)
    assert not list(to.parent.iterdir())


def test_a_file_is_replaced_only_when_that_is_asked_for(repository: Repository, manifest: Manifest, to: Path) -> None:
    to.write_bytes(b"mine")
    with pytest.raises(ExportFailed, match="it exists") as refused:
        export(repository.open(manifest), to, Form.tar)
    assert "--force" in refused.value.remedy
    assert to.read_bytes() == b"mine"
    export(repository.open(manifest), to, Form.tar, force=True)
    assert digest(to.read_bytes()) == f"sha256:{manifest.sha256}"


def test_a_file_that_came_meanwhile_is_kept(repository: Repository, manifest: Manifest, to: Path) -> None:
    def comes(_: int) -> None:
        to.write_bytes(b"mine")

    with pytest.raises(ExportFailed, match="it exists"):
        export(repository.open(manifest), to, Form.tar, on_write=comes)
    assert to.read_bytes() == b"mine"
    assert os.listdir(to.parent) == [to.name]  # noqa: PTH208


def test_a_link_is_replaced_and_what_it_leads_to_is_not(repository: Repository, manifest: Manifest, to: Path) -> None:
    (kept := to.with_name("kept")).write_bytes(b"mine")
    to.symlink_to(kept)
    export(repository.open(manifest), to, Form.tar, force=True)
    assert kept.read_bytes() == b"mine"
    assert not to.is_symlink()


def test_a_device_is_never_renamed_over(repository: Repository, manifest: Manifest, to: Path) -> None:
    os.mkfifo(to)
    with pytest.raises(ExportFailed, match="neither a file"):
        export(repository.open(manifest), to, Form.tar, force=True)
    assert to.is_fifo()


def test_a_full_disk_is_said_before_anything_is_written(
    repository: Repository, manifest: Manifest, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(ExportFailed, match=f"it takes {manifest.size} bytes, and 1 are free"):
        export(repository.open(manifest), to, Form.tar)
    assert not list(to.parent.iterdir())


def test_a_disk_that_becomes_full_leaves_no_part(
    repository: Repository, manifest: Manifest, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportFailed, match="No space left") as failed:
        export(repository.open(manifest), to, Form.tar)
    assert (failed.value.subject, failed.value.remedy) == (str(to), "free some, or write elsewhere")
    assert not list(to.parent.iterdir())


@pytest.mark.parametrize(("path", "why"), [("missing/x.tar", "No such file"), (".", "it is a folder")])
def test_a_path_that_cannot_be_written_says_why(
    repository: Repository, manifest: Manifest, to: Path, path: str, why: str
) -> None:
    with pytest.raises(ExportFailed, match=why) as failed:
        export(repository.open(manifest), to.parent / path, Form.tar)
    assert failed.value.remedy
