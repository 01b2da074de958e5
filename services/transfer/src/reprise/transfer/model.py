"""What transfer reads of others' records."""

from reprise.contracts.model import Frozen


class Noted(Frozen):
    """Of the restorer's record of a live reference, in KV: what was given up."""

    void: tuple[str, ...] = ()
    """Checkpoints."""
    dead: tuple[str, ...] = ()
    """Containers that ended soon: what was checkpointed of them is given up too."""
