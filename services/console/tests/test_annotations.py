"""Annotations that have no effect: what REST answers and what a page shows, from the list that scheduler keeps."""

from typing import Any, cast

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from reprise.console import api
from reprise.console.adapters.annotations import ListedAnnotations
from reprise.console.web.pages import Views
from reprise.console.web.rendering import Pages
from reprise.contracts.records import WrongAnnotation, WrongAnnotations
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer

NOBODY: Any = None


def wrong(kind: str, name: str, namespace: str = "shop", value: str = "criu") -> WrongAnnotation:
    return WrongAnnotation(
        namespace=namespace, kind=kind, name=name, annotation="reprise.dev/mode", value=value, message="nobody reads it there"
    )


AGENT, CART, FAR = wrong("DaemonSet", "agent"), wrong("Deployment", "cart"), wrong("Deployment", "cart", "other")


class Listed:
    """Implements ports.Annotations."""

    def __init__(self, found: WrongAnnotations | None) -> None:
        self.found = found

    async def wrong(self) -> WrongAnnotations | None:
        return self.found


ALL = Listed(WrongAnnotations(found=(AGENT, CART, FAR)))


async def asked(listed: Listed, query: str = "") -> Any:
    made = FastAPI()
    made.include_router(api.router(NOBODY, annotations=listed))
    async with AsyncClient(transport=ASGITransport(made), base_url="http://c.test") as client:
        return await client.get(f"/api/v1/annotations{query}")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [AGENT, CART, FAR]),
        ("?namespace=shop", [AGENT, CART]),
        ("?namespace=shop&kind=Deployment&workload=cart", [CART]),
        ("?kind=DaemonSet", [AGENT]),
        ("?limit=1", [AGENT]),
    ],
)
async def test_they_are_asked_for_by_namespace_kind_and_name(query: str, found: list[WrongAnnotation]) -> None:
    answer = await asked(ALL, query)
    assert [WrongAnnotation.model_validate(row) for row in answer.json()] == found


async def test_while_they_cannot_be_told_rest_says_so_and_pages_go_without() -> None:
    assert (await asked(Listed(None))).status_code == 503
    assert await Views(NOBODY, annotations=Listed(None))._wrong("shop") == []


async def test_a_workloads_page_has_its_own() -> None:
    assert await Views(NOBODY, annotations=ALL)._wrong("shop", "Deployment", "cart") == [CART]


async def test_the_list_is_the_schedulers_and_empty_before_it_wrote_any() -> None:
    bucket = Bucket(MemoryBus(MemoryServer()), "annotations", WrongAnnotations)
    assert await ListedAnnotations(bucket).wrong() == WrongAnnotations()
    await bucket.put(WrongAnnotations.ALL, WrongAnnotations(found=(AGENT,)))
    assert await ListedAnnotations(bucket).wrong() == WrongAnnotations(found=(AGENT,))


def test_a_page_shows_each_with_its_object_as_text() -> None:
    parts = cast(Any, Pages(lambda: True, "")._templates.get_template("parts.html").module)
    drawn = parts.wrong_annotations([wrong("DaemonSet", "agent", value="<b>criu")])
    assert "reprise.dev/mode: &lt;b&gt;criu" in drawn
    assert "on DaemonSet agent" in drawn
    assert "nobody reads it there" in drawn
    assert parts.wrong_annotations([]).strip() == ""
