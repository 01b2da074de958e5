"""Which files transfer may touch, and what its registry answers."""

from pathlib import Path

import httpx
import pytest
from reprise.archive.oci import digest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build
from reprise.contracts.errors import CheckpointError
from reprise.contracts.events import CheckpointFailed
from reprise.contracts.model import Target, Workload
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.decide import archive_path, orphans
from reprise.transfer.handlers import Handlers
from reprise.transfer.registry import app

FOLDER = Path("/var/lib/kubelet/checkpoints")


@pytest.mark.parametrize(
    "told",
    [
        "/etc/passwd",
        f"{FOLDER}/../x/checkpoint-a.tar",
        f"{FOLDER}/sub/checkpoint-a.tar",
        f"{FOLDER}/a.tar",
        "",
        "checkpoint-a.tar",
    ],
)
def test_a_path_that_is_no_checkpoint_archive_is_refused(told: str) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint archive"):
        archive_path(told, FOLDER)


def test_an_archive_is_an_orphan_only_when_it_is_old_and_nobody_works_on_it() -> None:
    old, young, busy = (FOLDER / f"checkpoint-{n}.tar" for n in ("old", "young", "busy"))
    assert orphans([(old, 4000), (young, 10), (busy, 4000)], [busy], 3600) == [old]


ARCHIVE = build()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(store: MemoryStore, tmp_path: Path) -> httpx.AsyncClient:
    repository, path = Repository(store, FixedKeys()), tmp_path / "checkpoint-a.tar"
    path.write_bytes(ARCHIVE)
    target = Target(node="n1", pod="p", pod_uid="u1", container="counter", container_id="c1")
    manifest = repository.write_archive(
        path, checkpoint_id="1", workload=Workload(namespace="ns", name="counter"), target=target, trigger="demand"
    )
    repository.publish_image(manifest, "u1")
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app(repository, Slots(tmp_path / "slots"))), base_url="http://registry"
    )


async def test_an_image_is_pulled_as_a_runtime_does_it(registry: httpx.AsyncClient) -> None:
    assert (await registry.get("/v2/")).status_code == 200
    answer = await registry.get("/v2/ns/u1/counter/manifests/live")
    image = answer.json()
    assert answer.headers["docker-content-digest"] == digest(answer.content)
    assert image["annotations"]["io.kubernetes.cri-o.annotations.checkpoint.name"] == "counter"
    assert image["annotations"]["org.criu.checkpoint.container.name"] == "counter"
    assert (await registry.get(f"/v2/ns/u1/counter/manifests/{digest(answer.content)}")).content == answer.content
    config = await registry.get(f"/v2/ns/u1/counter/blobs/{image['config']['digest']}")
    assert digest(config.content) == image["config"]["digest"]
    assert config.json()["rootfs"]["diff_ids"] == [image["layers"][0]["digest"]]
    layer = await registry.get(f"/v2/ns/u1/counter/blobs/{image['layers'][0]['digest']}")
    assert layer.content == ARCHIVE
    head = await registry.head(f"/v2/ns/u1/counter/blobs/{image['layers'][0]['digest']}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(layer.content)))


@pytest.mark.parametrize(
    "path", ["/v2/ns/u2/counter/manifests/live", "/v2/ns/u1/counter/manifests/latest", "/v2/ns/u1/counter/blobs/sha256:00"]
)
async def test_what_is_not_there_is_an_error_in_the_registrys_form(registry: httpx.AsyncClient, path: str) -> None:
    answer = await registry.get(path)
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] in ("MANIFEST_UNKNOWN", "BLOB_UNKNOWN")


async def test_a_store_that_is_away_is_unavailable_not_unknown(registry: httpx.AsyncClient, store: MemoryStore) -> None:
    store.away = True
    assert (await registry.get("/v2/ns/u1/counter/manifests/live")).status_code == 503


async def test_a_damaged_archive_breaks_its_transfer_off(registry: httpx.AsyncClient, store: MemoryStore) -> None:
    image = (await registry.get("/v2/ns/u1/counter/manifests/live")).json()
    (pack,) = [key for key in store.objects if key.startswith("packs/")]
    store.objects[pack] = store.objects[pack][:40] + b"other" + store.objects[pack][45:]
    with pytest.raises(Exception, match="does not decrypt"):
        await registry.get(f"/v2/ns/u1/counter/blobs/{image['layers'][0]['digest']}")


class Told:
    async def publish(self, *_: object, **__: object) -> None:
        """What is told is asserted elsewhere."""


def failed(archive: str) -> CheckpointFailed:
    target = Target(node="n1", pod="p", pod_uid="u1", container="counter")
    return CheckpointFailed(
        node="n1", workload=Workload(namespace="ns", name="counter"), checkpoint_id="1", target=target,
        reason="UnhealthyAfter", message="", remedy="", archive_path=archive,
    )  # fmt: skip


async def test_an_archive_of_a_process_that_was_not_healthy_is_thrown_away_at_once(tmp_path: Path) -> None:
    """At an interval of seconds and a gigabyte each they would fill the node's disk before any sweep."""
    handlers = Handlers(Told(), None, None, None, tmp_path, lambda: True)  # type: ignore[arg-type]
    refused, other = tmp_path / "checkpoint-a.tar", tmp_path / "checkpoint-b.tar"
    refused.touch(), other.touch()
    for archive in (str(refused), str(refused), "", "/etc/passwd", str(tmp_path / "sub/checkpoint-b.tar")):
        await handlers.on_failed(failed(archive))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-b.tar"]
