"""One POST over TLS: to the address that was judged, never to where it redirects, within a time and a size."""

import asyncio
import socket
import ssl
from pathlib import Path

import certifi
import httpx
from reprise.webhook import decide
from reprise.webhook.model import Answer, Endpoint

ANSWER_BYTES = 64 << 10
"""What is read of an answer's body, to end it in peace; nobody looks at it."""


class HttpsSender:
    """A connection for each delivery: a kept one could be another endpoint's, at the same address under another name."""

    def __init__(self, timeout_s: float, ca_file: Path) -> None:
        context = ssl.create_default_context(cafile=certifi.where())
        context.load_default_certs()
        if ca_file.exists():
            context.load_verify_locations(ca_file)
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            verify=context,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def post(self, endpoint: Endpoint, headers: dict[str, str], body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(endpoint, headers, body)
        except TimeoutError:
            return Answer(error=f"it did not answer within {self._timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Answer(error=f"it cannot be reached: {str(error) or type(error).__name__}"[:300])

    async def _post(self, endpoint: Endpoint, headers: dict[str, str], body: bytes) -> Answer:
        url = httpx.URL(endpoint.url)
        address, refusal = await _resolve(url.host, url.port or 443, endpoint.private)
        if refusal:
            return Answer(error=refusal)
        # By the address that was judged: a name could lead elsewhere the next moment. TLS still asks for the name.
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers | {"host": url.netloc.decode()},
            extensions={"sni_hostname": url.raw_host.decode()},
        )
        response = await self._client.send(request, stream=True)
        try:
            read = 0
            async for part in response.aiter_raw():
                read += len(part)
                if read > ANSWER_BYTES:
                    break
            return Answer(response.status_code, response.headers.get("retry-after", ""))
        finally:
            await response.aclose()


async def _resolve(host: str, port: int, private: bool) -> tuple[str, str]:
    """The first address that may be used, or why none may."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    refusals = [decide.refusal(address, private) for address in addresses]
    for address, refusal in zip(addresses, refusals, strict=True):
        if not refusal:
            return address, ""
    return "", refusals[0]
