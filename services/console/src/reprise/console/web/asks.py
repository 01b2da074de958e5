"""What an operation will do, in words, pure: its reader decides by them."""

from dataclasses import dataclass
from typing import Any

from reprise.contracts.events import Operation
from reprise.contracts.humane import absolute, plural, seconds, size


@dataclass(frozen=True)
class Question:
    """title: what is asked; will: what will happen, a sentence each; button: the word to agree with."""

    title: str
    will: tuple[str, ...]
    button: str


def about_workload(operation: Operation, rows: list[dict[str, Any]]) -> Question:
    """rows: of its containers, as `GET /api/v1/workloads` tells them."""
    return _checkpoint(rows) if operation == "checkpoint" else _move(rows)


def _checkpoint(rows: list[dict[str, Any]]) -> Question:
    name = rows[0]["workload"]
    newest = [row["checkpoint"] for row in rows if row["checkpoint"]]
    will = ["A checkpoint is taken at once, beside those that are taken on time."]
    pauses = [each["pause_s"] for each in newest if each["pause_s"]]
    how_long = f" for about {seconds(max(pauses))}, as it did for the last one" if pauses else ""
    will.append(f"{name} stands still{how_long} while its memory is dumped.")
    if newest:
        total = sum(each["size_bytes"] or 0 for each in newest)
        will.append(f"It is verified and stored like every other ({size(total)} now; only what is new is sent).")
    return Question(f"Take a checkpoint of {name} now", tuple(will), "Take a checkpoint")


def _move(rows: list[dict[str, Any]]) -> Question:
    row = rows[0]
    name, here = row["workload"], row["node"] or "its node"
    keeps_name = row["kind"] != "Deployment"  # docs/adr/0016-same-name.md
    will = [f"A last checkpoint of {name} is taken, and it stays stopped from then on; so nothing that it did is lost."]
    if keeps_name:
        will.append(f"Once the other node has it, the pod on {here} is deleted, and the next pod of its name goes on from there.")
    else:
        will.append(f"It goes on from there on the other node, in a new pod. That on {here} is removed once the new one serves.")
    back_s = row["expected_recovery_s"]["crash"]
    if back_s is not None:
        will.append(f"It serves nobody meanwhile, for at least {seconds(back_s)}; connections to it are cut.")
    if keeps_name:
        will.append(f"Until that pod is deleted, it goes on on {here} if anything is in the way.")
        will.append("After that nothing is undone: if this checkpoint does not come back, an older one is tried; "
                    "and if none does, it starts without its memory, and says so.")  # fmt: skip
    else:
        will.append(f"If it cannot be restored there, it goes on on {here}: nothing runs on the other node before the move is "
                    "final.")  # fmt: skip
    return Question(f"Move {name} to another node", tuple(will), "Move it")


def about_restore(row: dict[str, Any], chosen: dict[str, Any]) -> Question:
    """row: of its container; chosen: the checkpoint, as `GET /api/v1/checkpoints` tells it."""
    name, newest = row["workload"], row["checkpoint"]
    will = [
        f"The process that {name} is now is ended. It goes on, in the same pod, as it was at {absolute(chosen['at'])} "
        f"({chosen['checkpoint_id']}).",
        "What it did since then is given up. Take a checkpoint first if it may be wanted: only what is in a checkpoint can be "
        "gone back to.",
        "Newer checkpoints stay in the store, and can be chosen the same way; a failover does not choose them any more.",
    ]  # fmt: skip
    back_s = row["expected_recovery_s"]["crash"]
    if back_s is not None:
        will.append(f"It serves nobody meanwhile, for about {seconds(back_s)}; connections to it are cut.")
    if newest:
        will.append("If it does not come to life, it goes on from its newest checkpoint.")
    return Question(f"Restore {name} from this checkpoint", tuple(will), "Restore it")


def about_node(operation: Operation, name: str, rows: list[dict[str, Any]]) -> Question:
    """rows: of what runs there."""
    if operation == "undrain":
        will = (f"{name} takes new pods again (it is uncordoned).", "What was moved away is not moved back.")
        return Question(f"Let {name} take pods again", will, "Let it take pods")
    told = [f"{name} takes no new pods from now on (it is cordoned), until you let it."]
    if rows:
        told.append(f"{plural(len(rows), 'protected container')} there {'is' if len(rows) == 1 else 'are'} moved to other nodes "
                    "with all that they did: each is stopped, checkpointed, and goes on elsewhere.")  # fmt: skip
    else:
        told.append("Nothing that is protected runs there.")
    told.append(f"What is not protected stays: `kubectl drain {name}` evicts it.")
    return Question(f"Drain {name}", tuple(told), f"Drain {name}")
