"""The console's REST API, and its events as they happen."""

import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx
from reprise.cli.ports import ConsoleError, Sent

PAGE = 1000
SILENCE_S = 30.0
"""The console says something every 10 s, even if nothing happens."""
API = "/api/v1"


class HttpConsole:
    """Over HTTP. name: what the user knows the console by; token: a bearer's, sent if it is set."""

    def __init__(self, url: str, name: str = "", token: str = "", transport: httpx.BaseTransport | None = None) -> None:
        self._name = name or url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = httpx.Client(base_url=url, timeout=10, headers=headers, transport=transport)
        except httpx.InvalidURL as error:
            raise ConsoleError(
                f"it is no URL: {error}", subject=url, remedy="set REPRISE_CONSOLE_URL to http://host:port"
            ) from error

    def __enter__(self) -> "HttpConsole":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def workloads(self, namespace: str | None) -> list[dict[str, Any]]:
        return self._page(f"{API}/workloads", {"limit": PAGE} | ({"namespace": namespace} if namespace else {}))[0]

    def forecast(self, node: str) -> dict[str, Any]:
        answer = self._answered(f"{API}/nodes/{quote(node, safe='')}/forecast", {})
        try:
            told = answer.json()
        except ValueError as error:
            raise self._strange() from error
        if not isinstance(told, dict) or not isinstance(told.get("workloads"), list):
            raise self._strange()
        return told

    def rows(self, table: str, filters: Mapping[str, str], most: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query: dict[str, str | int] = {name: value for name, value in filters.items() if value}
        page, following = self._page(f"{API}/{table}", query | {"limit": min(PAGE, most)})
        found += page
        while following and len(found) < most:
            page, following = self._page(following, {})
            found += page
        return found[:most]

    def tail(self, filters: Mapping[str, str], after: str = "") -> Iterator[Sent]:
        query = {name: value for name, value in filters.items() if value}
        headers = {"Last-Event-ID": after} if after else {}
        timeout = httpx.Timeout(10, read=SILENCE_S)
        try:
            with self._client.stream("GET", f"{API}/events/stream", params=query, headers=headers, timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                answer.raise_for_status()
                yield from self._sent(answer.iter_lines())
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from error
        except (httpx.HTTPError, httpx.UnsupportedProtocol) as error:
            raise self._silent(error) from error
        raise ConsoleError("it ended the stream: it or NATS restarts", subject=self._name, retryable=True)

    def _sent(self, lines: Iterator[str]) -> Iterator[Sent]:
        """Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
        last, data = "", list[str]()
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                last = value
            elif name == "data":
                data.append(value)
            elif not line and data:
                try:
                    yield Sent(last, json.loads("\n".join(data)))
                except ValueError as error:
                    raise self._strange() from error
                data = []

    def _page(self, address: str, query: Mapping[str, str | int]) -> tuple[list[dict[str, Any]], str]:
        """A page's rows, and the address of the next one; empty on the last."""
        answer = self._answered(address, query)
        try:
            told = answer.json()
        except ValueError as error:
            raise self._strange() from error
        if not isinstance(told, list) or not all(isinstance(row, dict) for row in told):
            raise self._strange()
        return told, answer.links.get("next", {}).get("url", "")

    def _answered(self, address: str, query: Mapping[str, str | int]) -> httpx.Response:
        try:
            answer = self._client.get(address, params=dict(query) or None)
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from error
        except (httpx.HTTPError, httpx.UnsupportedProtocol) as error:
            raise self._silent(error) from error
        return answer

    def _silent(self, error: Exception) -> ConsoleError:
        return ConsoleError(
            f"it does not answer: {error or type(error).__name__}", subject=self._name, retryable=True,
            remedy="`kubectl -n reprise-system get pods` shows whether it runs",
        )  # fmt: skip

    def _strange(self) -> ConsoleError:
        return ConsoleError("what answers is no console", subject=self._name, remedy="check REPRISE_CONSOLE_URL")

    def _refused(self, answer: httpx.Response) -> ConsoleError:
        if answer.status_code in (401, 403):
            return ConsoleError(
                "it does not let you read" if answer.status_code == 403 else "it wants to know who you are", subject=self._name,
                remedy="set REPRISE_CONSOLE_TOKEN to a token that it accepts, e.g. of `kubectl create token`",
            )  # fmt: skip
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = answer.reason_phrase
        if answer.status_code == 404:
            known = detail not in ("", "Not Found")  # FastAPI's own word for an address that it does not have
            return ConsoleError(
                detail if known else "it does not know what is asked for", subject=self._name, reason="NotFound",
                remedy="`reprise doctor` lists the nodes" if known else "deploy a console of this version",
            )  # fmt: skip
        return ConsoleError(
            f"HTTP {answer.status_code}: {detail}", subject=self._name, retryable=answer.status_code >= 500,
            remedy="`kubectl -n reprise-system logs deploy/console` tells more",
        )  # fmt: skip
