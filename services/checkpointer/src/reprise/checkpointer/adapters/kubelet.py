"""This node's kubelet: POST /checkpoint/NAMESPACE/POD/CONTAINER, by service-account token, its CA verified.

Source: https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/
"""

import ssl
from pathlib import Path
from urllib.parse import quote

import httpx
from reprise.checkpointer.decide import Failure, Refusal
from reprise.contracts.model import Target
from reprise.runtime.addresses import bracketed


class HttpsKubelet:
    """Keeps its connection open: a TLS handshake would cost more than all else before the call."""

    def __init__(self, host: str, port: int, ca: Path, token_file: Path, timeout_s: float) -> None:
        self._base = f"https://{bracketed(host)}:{port}"
        self._token_file, self._timeout_s = token_file, timeout_s
        self._http = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=str(ca)),
            trust_env=False,
            timeout=httpx.Timeout(timeout_s + 5, connect=3),
            limits=httpx.Limits(keepalive_expiry=600),
        )

    async def checkpoint(self, namespace: str, target: Target) -> str | Refusal | Failure:
        names = "/".join(quote(name, safe="") for name in (namespace, target.pod, target.container))
        url = f"{self._base}/checkpoint/{names}?timeout={round(self._timeout_s)}"
        token = self._token_file.read_text().strip()  # rotated by the kubelet: read anew each time
        try:
            answer = await self._http.post(url, headers={"Authorization": f"Bearer {token}"})
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return Failure("KubeletCertificate", f"the kubelet's certificate is not trusted: {error}",
                               "sign the kubelet's serving certificate by the cluster's CA (serverTLSBootstrap), or set "
                               "REPRISE_KUBELET_CA")  # fmt: skip
            return Failure("KubeletUnreachable", f"{self._base} does not answer: {error}", "is the kubelet up?")
        except httpx.HTTPError as error:
            return Failure("KubeletTimeout", f"{type(error).__name__} after {self._timeout_s:g} s",
                           "a large process takes long: raise REPRISE_KUBELET_TIMEOUT_S")  # fmt: skip
        if answer.status_code == 200:
            return str(answer.json()["items"][0])
        return Refusal(answer.status_code, answer.text)
