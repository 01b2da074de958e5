"""What the agent remembers on its node's disk."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing, whenever the agent is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.rename(path)
