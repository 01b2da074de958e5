"""Which of the kubelet's files transfer may touch, and what its registry answers, and to whom."""

from pathlib import Path

import httpx
import pytest
from reprise.archive.oci import digest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build
from reprise.contracts.errors import CheckpointError
from reprise.contracts.model import Target, Workload
from reprise.transfer.decide import archive_path, orphans
from reprise.transfer.registry import app
from reprise.transfer.settings import Settings

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


def test_an_archive_is_an_orphan_only_when_it_is_old() -> None:
    old, young = (FOLDER / f"checkpoint-{n}.tar" for n in ("old", "young"))
    assert orphans([(old, 4000), (young, 10)], 3600) == [old]


ARCHIVE = build()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(store: MemoryStore, tmp_path: Path) -> httpx.AsyncClient:
    repository, path = Repository(store, FixedKeys()), tmp_path / "checkpoint-a.tar"
    path.write_bytes(ARCHIVE)
    target = Target(node="n1", pod="p", pod_uid="u1", container="counter", container_id="c1")
    repository.write_archive(
        path, checkpoint_id="1", workload=Workload(namespace="ns", name="counter"), target=target, trigger="demand"
    )
    transport = httpx.ASGITransport(app(repository, "secret"))
    return httpx.AsyncClient(transport=transport, base_url="http://registry", headers={"Authorization": "Bearer secret"})


async def test_an_image_is_pulled_as_a_runtime_does_it(registry: httpx.AsyncClient) -> None:
    assert (await registry.get("/v2/")).status_code == 200
    answer = await registry.get("/v2/ns/deployment-counter/counter/manifests/1")
    image = answer.json()
    assert answer.headers["docker-content-digest"] == digest(answer.content)
    assert image["annotations"]["io.kubernetes.cri-o.annotations.checkpoint.name"] == "counter"
    assert image["annotations"]["org.criu.checkpoint.container.name"] == "counter"
    assert (await registry.get(f"/v2/ns/deployment-counter/counter/manifests/{digest(answer.content)}")).content == answer.content
    config = await registry.get(f"/v2/ns/deployment-counter/counter/blobs/{image['config']['digest']}")
    assert digest(config.content) == image["config"]["digest"]
    assert config.json()["rootfs"]["diff_ids"] == [image["layers"][0]["digest"]]
    layer = await registry.get(f"/v2/ns/deployment-counter/counter/blobs/{image['layers'][0]['digest']}")
    assert layer.content == ARCHIVE
    head = await registry.head(f"/v2/ns/deployment-counter/counter/blobs/{image['layers'][0]['digest']}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(layer.content)))


@pytest.mark.parametrize(
    "path",
    [
        "/v2/ns/deployment-other/counter/manifests/1",
        "/v2/ns/statefulset-counter/counter/manifests/1",
        "/v2/ns/x/counter/manifests/1",
        "/v2/other/deployment-counter/counter/manifests/1",
        "/v2/ns/deployment-counter/counter/manifests/latest",
        "/v2/ns/deployment-counter/counter/blobs/sha256:00",
    ],
)
async def test_what_is_not_there_is_an_error_in_the_registrys_form(registry: httpx.AsyncClient, path: str) -> None:
    answer = await registry.get(path)
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] in ("MANIFEST_UNKNOWN", "BLOB_UNKNOWN")


async def test_a_store_that_is_away_is_unavailable_not_unknown(registry: httpx.AsyncClient, store: MemoryStore) -> None:
    store.away = True
    assert (await registry.get("/v2/ns/deployment-counter/counter/manifests/1")).status_code == 503


async def test_a_damaged_archive_breaks_its_transfer_off(registry: httpx.AsyncClient, store: MemoryStore) -> None:
    image = (await registry.get("/v2/ns/deployment-counter/counter/manifests/1")).json()
    (pack,) = [key for key in store.objects if key.startswith("packs/")]
    store.objects[pack] = store.objects[pack][:40] + b"other" + store.objects[pack][45:]
    with pytest.raises(Exception, match="does not decrypt"):
        await registry.get(f"/v2/ns/deployment-counter/counter/blobs/{image['layers'][0]['digest']}")


@pytest.mark.parametrize("shown", [None, "", "Bearer", "Bearer ", "Bearer other", "Basic secret", "secret", "Bearer secret2"])
async def test_without_the_token_nobody_gets_anything(registry: httpx.AsyncClient, shown: str | None) -> None:
    """Anybody on the node, a pod with hostNetwork too, reaches the port: an image is a process's memory."""
    image = (await registry.get("/v2/ns/deployment-counter/counter/manifests/1")).json()
    del registry.headers["Authorization"]
    headers = {} if shown is None else {"Authorization": shown}
    for path in (
        "",
        "ns/deployment-counter/counter/manifests/1",
        f"ns/deployment-counter/counter/blobs/{image['layers'][0]['digest']}",
    ):
        for method in ("GET", "HEAD"):
            answer = await registry.request(method, f"/v2/{path}", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert b"checkpoint/" not in answer.content


UNGUESSABLE = (
    "ns/deployment-counter/counter/manifests/1",
    "ns/deployment-counter/counter/manifests/2",
    "other/statefulset-db/db/manifests/1",
    "nosuch",
    "_catalog",
    "ns/deployment-counter/counter/tags/list",
    "../docs",
    "%2e%2e/%2e%2e/x/manifests/1",
)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"])
async def test_without_the_token_what_is_there_cannot_be_told_from_what_is_not(
    registry: httpx.AsyncClient, store: MemoryStore, method: str
) -> None:
    """Every answer is the same to the byte, and the store is not asked: time tells nothing either."""
    registry.headers["Authorization"] = "Bearer guess"
    asked: list[str] = []
    store.step = lambda verb, key: asked.append(key)
    answers = [await registry.request(method, f"/v2/{path}") for path in UNGUESSABLE]
    answers.append(await registry.request(method, "/docs"))
    assert {answer.status_code for answer in answers} == {401}
    assert len({(answer.content, tuple(sorted(answer.headers.items()))) for answer in answers}) == 1
    assert not asked


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/deployment-counter/counter/manifests/1",
        "ns/%2e%2e/counter/manifests/1",
        "ns/deployment-counter/%2e%2e/manifests/1",
        "ns/deployment-counter/counter/manifests/%2e%2e",
        "ns/deployment-counter/counter/manifests/..%5c1",
        "ns/deployment-counter/counter/manifests/1%00",
        "ns/deployment-counter/counter/manifests/1%2f..%2f1",
        "ns/deployment-counter/counter%2f..%2fcounter/manifests/1",
        "ns/deployment-counter/counter/blobs/%2e%2e",
        "ns/deployment-counter/counter/blobs/sha256:%2e%2e",
        "NS/deployment-counter/counter/manifests/1",
        "n*/deployment-counter/counter/manifests/1",
        "%0d%0a/deployment-counter/counter/manifests/1",
        "_catalog",
        "ns/deployment-counter/counter/tags/list",
    ],
)
async def test_a_name_that_leads_elsewhere_never_reaches_the_store(
    registry: httpx.AsyncClient, store: MemoryStore, path: str
) -> None:
    asked: list[str] = []
    store.step = lambda verb, key: asked.append(key)
    assert (await registry.get(f"/v2/{path}")).status_code == 404
    assert not asked


async def test_a_blob_of_one_workload_is_not_had_under_anothers_name(registry: httpx.AsyncClient) -> None:
    layer = (await registry.get("/v2/ns/deployment-counter/counter/manifests/1")).json()["layers"][0]["digest"]
    for name in ("ns/deployment-other/counter", "other/deployment-counter/counter", "ns/deployment-counter/other"):
        assert (await registry.get(f"/v2/{name}/blobs/{layer}")).status_code == 404


async def test_nothing_can_be_written(registry: httpx.AsyncClient, store: MemoryStore) -> None:
    before = dict(store.objects)
    for method in ("PUT", "POST", "PATCH", "DELETE"):
        for path in ("manifests/1", "blobs/uploads/"):
            answer = await registry.request(method, f"/v2/ns/deployment-counter/counter/{path}", content=b"x")
            assert answer.status_code in (404, 405)
    assert store.objects == before


def test_a_registry_without_a_token_is_not_made(store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="without a token"):
        app(Repository(store), "")
    assert not Settings(node_name="n1").registry_token.get_secret_value()
