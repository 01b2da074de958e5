"""Which slots are restored, and that whatever is interrupted leaves complete good ones behind both links."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.testing import write_slot
from reprise.contracts.errors import CheckpointError
from reprise.contracts.model import Target, Workload
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.decide import gone, require_own, superfluous

HOME = "ns/u1/counter"


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    found = Slots(tmp_path / "slots")
    for name in ("1", "2", "3", "4"):
        write_slot(found.path(HOME, name))
    return found


def shown(slots: Slots) -> tuple[str, str]:
    return slots.live(HOME), slots.previous(HOME)


def test_live_moves_on_and_the_one_before_is_kept(slots: Slots) -> None:
    assert shown(slots) == ("", "")
    for name, expected in (("1", ("1", "")), ("2", ("2", "1")), ("3", ("3", "2"))):
        slots.promote(HOME, name)
        assert shown(slots) == expected
    assert os.readlink(slots.path(HOME) / "live") == "3"  # noqa: PTH115 relative: the engine has it mounted elsewhere


def test_live_does_not_move_back_unless_somebody_asks_for_it(slots: Slots) -> None:
    slots.promote(HOME, "3")
    assert not slots.promote(HOME, "2")
    assert not slots.promote(HOME, "3")
    assert shown(slots) == ("3", "")
    assert slots.promote(HOME, "1", back=True)
    assert shown(slots) == ("1", "3")


def test_what_does_not_count_after_all_is_gone_and_the_one_before_is_live_again(slots: Slots) -> None:
    for name in ("1", "2", "3"):
        slots.promote(HOME, name)
    slots.withdraw(HOME, "3")
    assert shown(slots) == ("2", "")
    assert not slots.holds(HOME, "3")
    slots.withdraw(HOME, "2")
    assert shown(slots) == ("", "")


def test_taking_back_the_one_before_leaves_the_live_one(slots: Slots) -> None:
    for name in ("1", "2", "3"):
        slots.promote(HOME, name)
    slots.withdraw(HOME, "2")
    assert shown(slots) == ("3", "")
    assert slots.holds(HOME, "1")


def test_a_link_to_what_is_not_there_or_outside_shows_nothing(slots: Slots) -> None:
    live = slots.path(HOME) / "live"
    for target in ("9", "../../u2/counter/1", "/etc", ".", ".."):
        live.unlink(missing_ok=True)
        live.symlink_to(target)
        assert slots.live(HOME) == "", target
    live.unlink()
    live.symlink_to("9")
    slots.promote(HOME, "2")
    assert shown(slots) == ("2", "")


class Crash(BaseException):
    """kill -9."""


def steps(monkeypatch: pytest.MonkeyPatch, most: int) -> Callable[[], int]:
    """Let `most` changes of the file system happen, then crash at each; returns how many were made."""
    made = 0
    for owner, name in ((Path, "replace"), (Path, "rename"), (Path, "unlink"), (Path, "symlink_to")):
        real = getattr(owner, name)

        def step(*args: object, real: Callable[..., object] = real, **kwargs: object) -> object:
            nonlocal made
            if made >= most:
                raise Crash
            made += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, step)
    return lambda: made


def promote_and_tidy(slots: Slots) -> None:
    slots.promote(HOME, "3")
    slots.tidy(HOME)


def take_back(slots: Slots) -> None:
    slots.withdraw(HOME, "2")


@pytest.mark.parametrize(
    ("act", "between", "end"),
    [
        (promote_and_tidy, {("2", "1"), ("2", "2"), ("3", "2")}, ("3", "2")),
        (take_back, {("2", "1"), ("1", "1"), ("1", "")}, ("1", "")),
    ],
)
def test_killed_at_any_step_both_links_lead_to_good_slots_and_doing_it_again_ends_it(
    tmp_path: Path, act: Callable[[Slots], None], between: set[tuple[str, str]], end: tuple[str, str]
) -> None:
    seen = set()
    for most in range(40):
        slots = Slots(tmp_path / str(most))
        for name in ("0", "1", "2", "3"):
            write_slot(slots.path(HOME, name))
        for name in ("1", "2"):
            slots.promote(HOME, name)
        with pytest.MonkeyPatch.context() as patch:
            made = steps(patch, most)
            try:
                act(slots)
            except Crash:
                ended = False
            else:
                ended = True
            assert ended or made() == most
        seen.add(shown(slots))
        assert shown(slots) in between
        for name in slots.shown(HOME):
            assert (slots.path(HOME, name) / "checkpoint/pages-1.img").is_file()
        act(slots)
        assert shown(slots) == end
        if ended:
            break
    assert ended
    assert seen == between, "the test crashes where it matters"


def test_what_nobody_needs_is_removed_and_what_is_newer_than_live_is_not(slots: Slots) -> None:
    for name in ("2", "3"):
        slots.promote(HOME, name)
    write_slot(slots.path(HOME, "5.partial"))
    slots.busy.add(f"{HOME}/1")
    slots.busy.add("ns/u2/counter/1")
    slots.tidy(HOME)
    assert {path.name for path in slots.path(HOME).iterdir()} == {"1", "2", "3", "4", "5.partial", "live", "previous"}
    slots.busy.clear()
    os.utime(slots.path(HOME, "5.partial"), (1, 1))
    slots.tidy(HOME)
    assert {path.name for path in slots.path(HOME).iterdir()} == {"2", "3", "4", "live", "previous"}


names = st.text("0123", min_size=1, max_size=2)


@given(st.lists(names, unique=True), names, names, st.lists(names), st.integers(0, 2))
def test_live_previous_busy_and_newer_ones_are_never_superfluous(
    found: list[str], live: str, previous: str, busy: list[str], spares: int
) -> None:
    removed = superfluous(found, live, previous, busy, spares)
    assert not {live, previous, *busy} & set(removed)
    assert all(name < max(live, previous) for name in removed)
    old = [name for name in found if name < max(live, previous) and name not in {live, previous, *busy}]
    assert len(removed) == max(0, len(old) - spares)


OTHERS = [
    "", "/", "..", HOME, f"{HOME}/", f"{HOME}/../../u2/counter/1", f"/{HOME}/1", f"{HOME}/2", f"{HOME}/live", f"{HOME}/1.partial",
    f"{HOME}/1/", "ns//u1/counter/1", "ns/u2/counter/1", f"{HOME}/1\0",
]  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.sampled_from(OTHERS)))
def test_only_a_checkpoints_own_slot_is_taken_for_it(told: str) -> None:
    target = Target(node="n1", pod="p", pod_uid="u1", container="counter", container_id="c1")
    with pytest.raises(CheckpointError, match="not this checkpoint's slot"):
        require_own(told, Workload(namespace="ns", name="counter"), target, "1")
    assert require_own(f"{HOME}/1", Workload(namespace="ns", name="counter"), target, "1")


@pytest.mark.parametrize("checkpoint", ["", "..", "live", "previous", "1.partial", "1.removed", "a/b", "1\0"])
def test_a_checkpoints_name_that_agrees_with_its_slot_does_not_lead_elsewhere_either(checkpoint: str) -> None:
    """The other names are checked before: packages/contracts/tests/test_names.py."""
    target = Target(node="n1", pod="p", pod_uid="u1", container="c")
    with pytest.raises(CheckpointError):
        require_own(f"ns/u1/c/{checkpoint}", Workload(namespace="ns", name="x"), target, checkpoint)


def test_a_pods_slots_stay_while_it_is_here_or_another_pod_may_be_restored_from_them() -> None:
    assert gone(["u2"], ["ns/u3"], "u1", HOME)
    assert not gone(["u1"], [], "u1", HOME)
    assert not gone([], ["ns/u1"], "u1", HOME)
