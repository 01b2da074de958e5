"""The console's REST API."""

from types import TracebackType
from typing import Any

import httpx
from reprise.cli.ports import ConsoleError

PAGE = 1000


class HttpWorkloads:
    """Workloads over HTTP. name: what the user knows the console by."""

    def __init__(self, url: str, name: str = "", transport: httpx.BaseTransport | None = None) -> None:
        self._name = name or url
        try:
            self._client = httpx.Client(base_url=url, timeout=10, transport=transport)
        except httpx.InvalidURL as error:
            raise ConsoleError(
                f"it is no URL: {error}", subject=url, remedy="set REPRISE_CONSOLE_URL to http://host:port"
            ) from error

    def __enter__(self) -> "HttpWorkloads":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def __call__(self, namespace: str | None) -> list[dict[str, Any]]:
        query: dict[str, str | int] = {"limit": PAGE} | ({"namespace": namespace} if namespace else {})
        try:
            answer = self._client.get("/api/v1/workloads", params=query)
            answer.raise_for_status()
            told = answer.json()
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from error
        except (httpx.HTTPError, httpx.UnsupportedProtocol) as error:
            raise ConsoleError(
                f"it does not answer: {error or type(error).__name__}", subject=self._name, retryable=True,
                remedy="`kubectl -n reprise-system get pods` shows whether it runs",
            ) from error  # fmt: skip
        except ValueError as error:
            raise self._strange() from error
        if not isinstance(told, list) or not all(isinstance(row, dict) for row in told):
            raise self._strange()
        return told

    def _strange(self) -> ConsoleError:
        return ConsoleError("what answers is no console", subject=self._name, remedy="check REPRISE_CONSOLE_URL")

    def _refused(self, answer: httpx.Response) -> ConsoleError:
        if answer.status_code == 404:
            return ConsoleError("it does not know workloads", subject=self._name, remedy="deploy a console of this version")
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = answer.reason_phrase
        return ConsoleError(
            f"HTTP {answer.status_code}: {detail}", subject=self._name, retryable=answer.status_code >= 500,
            remedy="`kubectl -n reprise-system logs deploy/console` tells more",
        )  # fmt: skip
