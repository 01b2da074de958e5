"""Where a program hands out its state and takes it back: what `reprise.dev/state-*` and the prototype's `ps_*` mean."""

import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

from reprise.contracts.model import Frozen

SEED_MODE = "ps_mode"
MAX_BYTES = 64 << 20
MOST_BYTES = 16 << 30
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 1000, "M": 1000**2, "G": 1000**3}
NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
T = TypeVar("T")
Wrong = tuple[str, str, str]
"""An annotation that could not be used, its value, and why."""


class StateApi(Frozen):
    """`GET` answers with the state, `POST` of the same path takes it back. It is called by the pod's IP."""

    path: str
    port: int
    scheme: Literal["http", "https"] = "http"
    headers: str = ""
    """A Secret of the pod's namespace: each key is a header. Empty: none."""
    ca: str = ""
    """A ConfigMap of the pod's namespace whose `ca.crt` signs its certificate; https needs one."""
    max_bytes: int = MAX_BYTES
    probe: bool = False
    """Whether a container that has no livenessProbe gets one of ours (`http-sf`)."""


def parse(annotations: Mapping[str, str], prefix: str, seed: str) -> tuple[StateApi | None, tuple[Wrong, ...]]:
    """The API of a workload of mode http, and what is wrong; none if it is not known where its state is."""
    wrong: list[Wrong] = []

    def read(ours: str, seeds: str, convert: Callable[[str], T]) -> T | None:
        for name in (prefix + ours, seed + seeds if seeds else ""):
            if name in annotations:
                try:
                    return convert(annotations[name])
                except ValueError as error:
                    wrong.append((name, annotations[name], str(error)))
                    return None
        return None

    path, port = read("state-path", "ps_path", _path), read("state-port", "ps_port", _port)
    scheme, ca = read("state-scheme", "", _scheme), read("state-ca", "", _name)
    headers, most = read("state-headers", "", _name), read("state-max-bytes", "", size_bytes)
    told = {name for name, _, _ in wrong}
    ours = prefix + "mode" in annotations
    for value, name in ((path, "state-path" if ours else "ps_path"), (port, "state-port" if ours else "ps_port")):
        full = (prefix if ours else seed) + name
        if value is None and not told & {full, prefix + name.replace("ps_", "state-")}:
            wrong.append((full, "", f"missing: mode http needs it, e.g. {full}: {'/state' if 'path' in name else '8080'}"))
    if scheme == "https" and ca is None:
        wrong.append((prefix + "state-ca", annotations.get(prefix + "state-ca", ""), "https needs the name of a ConfigMap with "
                      "`ca.crt`, whose certificates sign the app's"))  # fmt: skip
    needed = {prefix + name for name in ("state-scheme", "state-ca", "state-headers")}
    if path is None or port is None or needed & {name for name, _, _ in wrong}:
        return None, tuple(wrong)
    probe = annotations.get(seed + SEED_MODE, "").strip() == "http-sf" and not ours
    return StateApi(
        path=path, port=port, scheme=scheme or "http", headers=headers or "", ca=ca or "", max_bytes=most or MAX_BYTES,
        probe=probe,
    ), tuple(wrong)  # fmt: skip


def size_bytes(text: str) -> int:
    """Bytes of a quantity such as `64Mi` or `1000000`. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,15})(Ki|Mi|Gi|k|M|G|)", text.strip(), re.ASCII)
    size = int(match[1]) * UNITS[match[2]] if match else 0
    if not 1 <= size <= MOST_BYTES:
        raise ValueError("not a size: write e.g. 64Mi; at least 1 byte and at most 16Gi")
    return size


def _path(text: str) -> str:
    path = text.strip()
    if not re.fullmatch(r"/?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{1,1024}", path, re.ASCII) or path.startswith("//"):
        raise ValueError("not a path: write e.g. /state")
    return path if path.startswith("/") else f"/{path}"


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text.strip(), re.ASCII) or not 1 <= int(text) <= 65535:
        raise ValueError("not a port: a whole number from 1 to 65535")
    return int(text)


def _scheme(text: str) -> Literal["http", "https"]:
    match text.strip():
        case "http":
            return "http"
        case "https":
            return "https"
    raise ValueError("use http or https")


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text.strip(), re.ASCII):
        raise ValueError("not the name of an object in the pod's namespace")
    return text.strip()
