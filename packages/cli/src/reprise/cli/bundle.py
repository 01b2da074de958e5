"""What a support bundle leaves out. Pure.

Secrets are never asked for. What might quote one all the same (a log line, a variable of a pod) is blacked out here.
"""

import re
from typing import Any

HIDDEN = "<hidden>"
SENSITIVE = r"[\w.-]*(?:password|passwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|kek)[\w.-]*"
RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"\bS[UAONC][A-Z2-7]{56}\b"), HIDDEN),  # a seed of NATS' NKeys
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+@"), rf"\1{HIDDEN}@"),
    (re.compile(rf"(?i)([\"']?\b{SENSITIVE}[\"']?\s*[:=]\s*)(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|[^\s,;}}\]\"']+)"), rf"\1{HIDDEN}"),
)
KEPT_VARIABLE = re.compile(r"REPRISE_\w+")
NAMED = re.compile(rf"(?i){SENSITIVE}")


def redacted(text: str) -> str:
    """Without what looks like a key, a token, a password or a certificate."""
    for pattern, instead in RULES:
        text = pattern.sub(instead, text)
    return text


def without_secrets(thing: Any) -> Any:
    """An object of Kubernetes without its variables' values (but settings of ours), and without what repeats them."""
    if isinstance(thing, list):
        return [without_secrets(each) for each in thing]
    if not isinstance(thing, dict):
        return redacted(thing) if isinstance(thing, str) else thing
    made = {}
    for name, value in thing.items():
        if name == "env" and isinstance(value, list):
            made[name] = [_variable(each) for each in value]
        elif name not in ("managedFields", "kubectl.kubernetes.io/last-applied-configuration", "data", "stringData"):
            made[name] = without_secrets(value)
    return made


def _variable(told: Any) -> Any:
    if not isinstance(told, dict) or "value" not in told:
        return told
    name = str(told.get("name"))
    kept = KEPT_VARIABLE.fullmatch(name) and not NAMED.fullmatch(name)
    return told | {"value": redacted(str(told["value"])) if kept else HIDDEN}
