"""An annotation on a kind that is not supported is told to its owner, on the object, once; what a controller copied is not."""

import json

import pytest
from aiohttp import web
from kubernetes.aio import client
from reprise.scheduler.adapters.things import METADATA, KubernetesThings, thing_of
from reprise.scheduler.misplaced import Misplaced, Thing, findings

ASKS = {"reprise.dev/mode": "criu"}


class MemoryThings:
    """In place of the API server."""

    def __init__(self, *things: Thing) -> None:
        self.things = list(things)
        self.told: list[tuple[str, str]] = []

    async def listed(self) -> list[Thing]:
        return self.things

    async def tell(self, thing: Thing, message: str) -> None:
        self.told.append((thing.name, message))


def thing(kind: str, annotations: dict[str, str], uid: str = "u1", *, owned: bool = False) -> Thing:
    return Thing("apps/v1", kind, "shop", "cart", uid, annotations, owned)


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("DaemonSet", "spec.template.metadata.annotations"), ("Job", "spec.template.metadata.annotations"),
        ("CronJob", "spec.jobTemplate.spec.template.metadata.annotations"), ("ReplicaSet", "make it a Deployment"),
    ],
)  # fmt: skip
def test_each_kind_says_where_the_annotation_belongs(kind: str, where: str) -> None:
    (wrong,) = findings(thing(kind, {"hitachienergy.com/cr_mode": "cr"}))
    assert (wrong.kind, wrong.annotation) == (kind, "hitachienergy.com/cr_mode")
    assert where in wrong.message


def test_a_misspelt_one_is_told_too_and_a_stranger_is_not() -> None:
    (wrong,) = findings(thing("DaemonSet", {"reprise.dev/intervall": "5s", "example.com/mode": "criu"}))
    assert "did you mean reprise.dev/interval?" in wrong.message


def test_what_a_deployment_copied_to_its_replicaset_is_nothing_to_tell() -> None:
    assert findings(thing("ReplicaSet", ASKS, owned=True)) == []
    owner = [{"kind": "Deployment", "controller": True}]
    made = thing_of("apps/v1", "ReplicaSet", {"namespace": "shop", "name": "cart-1", "uid": "u", "annotations": ASKS,
                                              "ownerReferences": owner})  # fmt: skip
    assert made.owned
    bare = thing_of("apps/v1", "ReplicaSet", {"namespace": "shop", "name": "cart-1", "uid": "u"})
    assert (bare.owned, bare.annotations) == (False, {})


async def test_each_is_told_once_and_again_if_it_is_changed() -> None:
    things = MemoryThings(thing("Job", ASKS))
    misplaced = Misplaced(things, lambda: True)
    await misplaced.look()
    await misplaced.look()
    assert len(things.told) == 1
    things.things = [thing("Job", {"reprise.dev/mode": "off"})]
    await misplaced.look()
    assert len(things.told) == 2


async def test_of_each_kind_only_the_metadata_is_listed() -> None:
    asked: list[tuple[str, str]] = []

    async def answers(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers["Accept"]))
        meta = {"namespace": "shop", "name": request.path.rpartition("/")[2], "uid": "u", "annotations": ASKS}
        refuses = request.path.endswith("cronjobs") and len(asked) > 4
        return web.Response(status=403 if refuses else 200, body=json.dumps({"items": [{"metadata": meta}]}))

    app = web.Application()
    app.router.add_get("/{path:.*}", answers)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{port}")) as api:
            things = KubernetesThings(api)
            assert [(each.kind, each.name) for each in await things.listed()] == [
                ("ReplicaSet", "replicasets"), ("DaemonSet", "daemonsets"), ("Job", "jobs"), ("CronJob", "cronjobs"),
            ]  # fmt: skip
            assert {accept for _, accept in asked} == {METADATA}
            with pytest.raises(OSError, match="CronJobs cannot be listed: 403"):
                await things.listed()
    finally:
        await runner.cleanup()
