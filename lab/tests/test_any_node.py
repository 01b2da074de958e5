"""Which node is struck next."""

from reprise_lab.any_node import next_node, preferred

HELD = {"n1": ("a",), "n2": ("b", "c"), "n3": ()}


def test_each_node_is_struck_and_first_the_one_that_leads_most() -> None:
    assert next_node({"n1", "n2", "n3"}, {"a", "b", "c"}, HELD) == "n2"
    assert next_node({"n1", "n3"}, {"a"}, HELD) == "n1"
    assert next_node({"n3"}, set(), HELD) == "n3"


def test_a_role_that_moved_away_in_time_is_followed() -> None:
    assert next_node(set(), {"c"}, HELD) == "n2"
    assert next_node(set(), set(), HELD) is None


def test_a_counter_prefers_its_node_and_may_be_restored_on_any() -> None:
    assert list(preferred("n1")["nodeAffinity"]) == ["preferredDuringSchedulingIgnoredDuringExecution"]
