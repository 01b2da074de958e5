"""What a witness saw, judged: it knows nothing of Reprise but what was announced to everybody.

The app stamps each answer with its run id, a new one at each blank start, and its count, which only grows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from reprise_lab.witness import Answer

OVERLAP_S = 0.15
"""An answer that was on its way, or a request that waited in a socket, is not a second instance."""
SLACK = 2
"""Ticks of the app between an answer and the moment that it is compared to."""


@dataclass(frozen=True)
class Good:
    """A good checkpoint: when it began, and when it was told as stored. One that was never told may count, or not."""

    began: float
    told: float


@dataclass(frozen=True)
class Verdict:
    """broken: what must never happen, in words, with its moment. Times are the witness's monotonic seconds."""

    broken: tuple[str, ...]
    silent_s: float
    lost: int
    beside_s: float = 0.0
    """For so long what was paused still answered, once it went on, beside what had taken its place."""

    @property
    def kept(self) -> bool:
        return not self.broken


def judge(
    history: Iterable[Answer], *, since: float, checkpoints: Iterable[Good] = (), cold: bool = False,
    resumed: tuple[float, float] | None = None,
) -> Verdict:  # fmt: skip
    """checkpoints: on the witness's clock. cold: a cold start was announced. resumed: within these moments what ran on a node
    that was paused, and went on then, may answer beside its successor: the window that is documented, measured, and left out.

    Three rules: two instances never answer in overlapping time; a count never falls below that of the newest checkpoint that
    was told as stored by then; nothing begins anew unless that was announced.
    """
    seen = sorted((a for a in history if a.at >= since), key=lambda a: a.at)
    beside = _beside(seen, *resumed) if resumed else []
    seen = [a for a in seen if a not in beside]
    broken = [*_twice(seen), *_fell(seen, tuple(checkpoints))]
    runs = list(dict.fromkeys(a.run for a in seen))
    if len(runs) > 1 and not cold:
        at = next(a.at for a in seen if a.run != runs[0])
        broken.append(f"at {at:.2f}: a blank instance answered ({runs[0]}, then {runs[1]}), and no cold start was announced")
    silent_s = max((b.at - a.at for a, b in pairwise(seen)), default=0.0)
    lost = sum(max(0, a.count - b.count) for a, b in pairwise(seen) if a.run == b.run)
    beside_s = max((a.at for a in beside), default=resumed[0]) - resumed[0] if resumed else 0.0
    return Verdict(tuple(broken), silent_s, lost, beside_s)


def _beside(seen: list[Answer], begin: float, end: float) -> list[Answer]:
    """Answers of who had been silent, and had a successor, when its node went on."""
    before = [a for a in seen if a.at < begin]
    if not before:
        return []
    newest = before[-1].address
    known = {a.address for a in before} - {newest}
    return [a for a in seen if begin <= a.at <= end and a.address in known]


def _twice(seen: list[Answer]) -> Iterable[str]:
    """An instance is an address and a run: from its first answer to its last nobody else may answer."""
    ranges: dict[tuple[str, str], tuple[float, float]] = {}
    for answer in seen:
        who = (answer.address, answer.run)
        ranges[who] = (ranges.get(who, (answer.at, 0.0))[0], answer.at)
    for (one, (_, end)), (other, (begin, _)) in pairwise(sorted(ranges.items(), key=lambda item: item[1])):
        if begin < end - OVERLAP_S:
            yield f"two instances: {one} still answered {end - begin:.2f} s after {other} had begun"


def _fell(seen: list[Answer], checkpoints: tuple[Good, ...]) -> Iterable[str]:
    for index, (before, after) in enumerate(pairwise(seen)):
        if after.run != before.run or after.count >= before.count:
            continue
        kept = max((c.began for c in checkpoints if c.told < before.at), default=None)
        if kept is None:
            continue
        # The last one, not the highest: what an earlier fall has lost is no part of a later checkpoint.
        floor = next((a.count for a in reversed(seen[: index + 1]) if a.at <= kept and a.run == after.run), 0)
        if after.count < floor - SLACK:
            yield f"at {after.at:.2f}: the count fell to {after.count}, below the last good checkpoint's {floor}"
