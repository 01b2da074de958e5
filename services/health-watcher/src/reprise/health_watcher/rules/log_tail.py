"""The end of a container's log, without what the runtime writes before each line.

Source: Kubernetes, CRI container logging: `<RFC 3339> stdout|stderr F|P <text>`; P: the line goes on in the next one.
"""

LIMIT = 2048


def log_tail(written: str) -> str:
    """Return at most LIMIT characters of the last lines. written: the end of the file; its first line may be cut."""
    text = ""
    for line in written.splitlines():
        parts = line.split(" ", 3)
        if len(parts) < 3 or parts[1] not in ("stdout", "stderr"):
            continue
        text += parts[3] if len(parts) > 3 else ""
        if not parts[2].startswith("P"):
            text += "\n"
    return text.rstrip("\n")[-LIMIT:]
