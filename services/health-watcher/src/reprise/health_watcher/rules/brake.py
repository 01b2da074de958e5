"""The brake, pure: how much may be failed over at once. A cut through the cluster, or a fault of ours that makes nodes look lost,
must not turn into a storm that moves everything onto what is left. The model is minHealthy of Medik8s' node-healthcheck-operator.

One node is always given up, also one of two, and with all that is protected on it: that is what Reprise is for. From the second
on, no more than a share of the nodes, and of the protected pods, are failed over within a window. What is still lost counts
however long ago it was given up; what returned counts until the window is over.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class GivenUp:
    """A node that was given up, how many protected pods ran there, and how long ago that was."""

    pods: int
    ago_s: float
    lost: bool
    """It has not returned."""

    def counts(self, window_s: float) -> bool:
        return self.lost or self.ago_s < window_s


@dataclass(frozen=True)
class Whole:
    """What the shares are of: the cluster's nodes, and its protected pods."""

    nodes: int
    pods: int


def why_not(node: str, pods: int, given_up: Mapping[str, GivenUp], whole: Whole, *, share: float, window_s: float) -> str:
    """Why this node, with so many protected pods, is not given up now; empty if it may be. given_up: by node."""
    others = {name: each for name, each in given_up.items() if name != node and each.counts(window_s)}
    known = given_up.get(node)
    if not others or (known and known.counts(window_s)):
        return ""
    names = ", ".join(sorted(others)[:5]) + (" and others" if len(others) > 5 else "")
    nodes_then, pods_before = len(others) + 1, sum(each.pods for each in others.values())
    most = f"and at most {share:.0%} may be (before it: {names})"
    if nodes_then > share * whole.nodes:
        return f"it would be {nodes_then} of {whole.nodes} nodes at once, {most}"
    if pods and pods_before and pods_before + pods > share * whole.pods:
        return f"it would be {pods_before + pods} of {whole.pods} protected pods at once, {most}"
    return ""
