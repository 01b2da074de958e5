"""The API server, asked directly: a kubectl process costs a tenth of a second of a core, and a witness looks all the time."""

import http.client
import json
import ssl
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from reprise_lab.paths import API_IP, PKI
from reprise_lab.shell import LabError

TIMEOUT_S = 5.0


@lru_cache(maxsize=1)
def _admin() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    context.load_cert_chain(PKI / "admin.crt", PKI / "admin.key")
    return context


def get(path: str, timeout_s: float = TIMEOUT_S, **query: str) -> dict[str, Any]:
    """GET of a path such as `/api/v1/nodes`, as JSON. Raises LabError."""
    connection = http.client.HTTPSConnection(API_IP, 6443, context=_admin(), timeout=timeout_s)
    try:
        connection.request("GET", path + (f"?{urlencode(query)}" if query else ""))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"the API server does not answer {path}: {error!r}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise LabError(f"the API server answers {path} with {answer.status}: {body[:300].decode(errors='replace')}")
    return dict(json.loads(body))


def pods(namespace: str, selector: str = "") -> list[dict[str, Any]]:
    """Every pod of the namespace that has these labels. Raises LabError."""
    return list(get(f"/api/v1/namespaces/{quote(namespace)}/pods", labelSelector=selector)["items"])


def events(namespace: str) -> list[dict[str, Any]]:
    """Every Kubernetes Event of the namespace. Raises LabError."""
    return list(get(f"/api/v1/namespaces/{quote(namespace)}/events")["items"])


def told(namespace: str, reason: str) -> list[str]:
    """What its Events of this reason say. Raises LabError."""
    return [str(event["message"]) for event in events(namespace) if event["reason"] == reason]


def service_address(name: str, namespace: str = "reprise-system") -> str:
    """A service's cluster IP. Raises LabError."""
    return str(get(f"/api/v1/namespaces/{quote(namespace)}/services/{quote(name)}")["spec"]["clusterIP"])
