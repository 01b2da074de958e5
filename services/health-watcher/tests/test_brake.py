"""How much is failed over at once: the rule, whatever is lost in whichever order."""

from hypothesis import given
from hypothesis import strategies as st
from reprise.health_watcher.rules.brake import GivenUp, Whole, why_not

NOW = GivenUp(pods=1, ago_s=0.0, lost=True)


def lost(*names: str, pods: int = 1) -> dict[str, GivenUp]:
    return {name: GivenUp(pods, 5.0, lost=True) for name in names}


def refused(node: str, pods: int, before: dict[str, GivenUp], whole: Whole) -> str:
    return why_not(node, pods, before, whole, share=0.5, window_s=60.0)


def test_one_of_two_nodes_is_given_up_with_everything_that_is_protected_on_it() -> None:
    assert refused("n1", 20, {}, Whole(nodes=2, pods=20)) == ""


def test_half_of_the_nodes_may_be_lost_and_not_one_more() -> None:
    assert refused("n2", 1, lost("n1"), Whole(4, 8)) == ""
    assert "3 of 4 nodes" in refused("n3", 1, lost("n1", "n2"), Whole(4, 8))
    assert "2 of 3 nodes" in refused("n2", 1, lost("n1"), Whole(3, 8))


def test_half_of_the_protected_pods_may_be_lost_and_not_one_more_from_the_second_node_on() -> None:
    assert refused("n2", 2, lost("n1", pods=3), Whole(10, 10)) == ""
    assert "6 of 10 protected pods" in refused("n2", 3, lost("n1", pods=3), Whole(10, 10))
    assert refused("n2", 0, lost("n1", pods=9), Whole(10, 10)) == "", "it costs nothing: nothing is protected there"
    assert refused("n2", 9, lost("n1", pods=0), Whole(10, 10)) == "", "it is the first that does"


def test_what_returned_counts_until_the_window_is_over_and_what_is_still_lost_for_ever() -> None:
    whole = Whole(2, 8)
    assert refused("n2", 1, {"n1": GivenUp(1, 59.0, lost=False)}, whole)
    assert refused("n2", 1, {"n1": GivenUp(1, 61.0, lost=False)}, whole) == ""
    assert refused("n2", 1, {"n1": GivenUp(1, 9999.0, lost=True)}, whole)


def test_a_node_that_was_given_up_already_may_be_judged_again() -> None:
    assert refused("n1", 1, lost("n1", "n2"), Whole(3, 8)) == ""


@given(st.integers(1, 40), st.permutations(range(40)), st.lists(st.integers(0, 5), min_size=40, max_size=40))
def test_a_storm_never_takes_more_than_half_beyond_its_first_node(nodes: int, order: list[int], pods: list[int]) -> None:
    whole, given_up = Whole(nodes, sum(pods[:nodes])), dict[str, GivenUp]()
    for number in [n for n in order if n < nodes]:
        if not refused(f"n{number}", pods[number], given_up, whole):
            given_up[f"n{number}"] = GivenUp(pods[number], 1.0, lost=True)
    assert len(given_up) <= max(1, nodes // 2)
    first = next((each.pods for each in given_up.values() if each.pods), 0)
    assert sum(each.pods for each in given_up.values()) <= max(first, whole.pods / 2)
