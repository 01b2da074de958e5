"""Which node takes a workload, pure; and why each of the others cannot. Never the one that was lost (I1), and only one on which
the checkpoint comes to life (I4).
"""

import re
from dataclasses import dataclass

from reprise.restorer.model import Need, NodeView
from reprise.restorer.placement import Placement, Site, refused

INSTRUCTIONS = re.compile(
    # x86: linux/arch/x86/include/asm/cpufeatures.h
    r"(s?sse\w*|pni|avx\w*|amx_\w+|xop|fma4?|f16c|bmi[12]|abm|adx|aes|vaes|v?pclmulqdq|gfni|sha_ni|sha512|sm[34]|popcnt|movbe|"
    r"movdir\w+|rdrand|rdseed|rdpid|rdtscp|fsgsbase|xsave\w*|erms|fsrm|clwb|clflushopt|clzero|cldemote|serialize|pku|rtm|hle|"
    r"enqcmd|cx16|3dnow\w*|tbm|lahf_lm|"
    # arm64: linux/Documentation/arch/arm64/elf_hwcaps.rst, all of them
    r"fp|asimd\w*|pmull|sha[123]|crc32|atomics|fphp|cpuid|jscvt|fcma|lrcpc|ilrcpc|dcpop|dcpodp|sve\w*|sme\w*|flagm2?|ssbs|sb|"
    r"paca|pacg|i8mm|bf16|dgh|rng|bti|mte3?|ecv|afp|rpres|uscat|frint)"
)


@dataclass(frozen=True)
class Choice:
    """A node, and why this one."""

    node: NodeView
    why: str


def choose_node(
    nodes: tuple[NodeView, ...], need: Need, lost: str, sticky: str, said: dict[str, str], asks: Placement | None = None
) -> Choice | str:
    """The node to move to, or why there is none. The same node as long as it can: what it holds already need not be sent.

    said: nodes that refused by themselves, with their reason. asks: what the pod asks of a node.
    """
    eligible, limits = [], []
    sites = tuple(node.site for node in nodes)
    for node in nodes:
        why_not = limitation(node, need, lost, asks or Placement(), sites) or said.get(node.name, "")
        if why_not:
            limits.append(f"{node.name} {why_not}")
        else:
            eligible.append(node)
    if not eligible:
        return "; ".join(limits) or "there is no other node"
    for node in eligible:
        if node.name == sticky:
            return Choice(node, f"{node.name} holds its checkpoints ready")
    best = min(eligible, key=lambda node: (node.protected_pods, -node.free_bytes, node.name))
    return Choice(best, f"{best.name} is ready and runs the fewest protected pods")


def limitation(  # noqa: PLR0911 one return per rule reads best
    node: NodeView, need: Need, lost: str, asks: Placement | None = None, sites: tuple[Site, ...] = ()
) -> str:
    """Why this node cannot take what needs that, in a pod that asks this; empty if it can. sites: of all nodes."""
    asks = asks or Placement()
    if node.name == lost:
        return "is the node it runs on"
    if not node.ready:
        return "is not ready"
    if not node.schedulable:
        return "is cordoned"
    if need.architecture and node.architecture != need.architecture:
        return f"is {node.architecture}, the checkpoint is {need.architecture}"
    if need.runtime and node.runtime and node.runtime != need.runtime:
        return f"runs {node.runtime}, the checkpoint is {need.runtime}'s"
    if need.criu and node.criu and _version(node.criu) < _version(need.criu):
        return f"has CRIU {node.criu}, the checkpoint is of CRIU {need.criu}"
    if need.kernel and node.kernel and _version(node.kernel)[:2] < _version(need.kernel)[:2]:
        return f"runs kernel {node.kernel}, the checkpoint is of the newer {need.kernel}"
    if lacking := missing_features(need.cpu_features, node.cpu_features):
        return f"has a CPU without {', '.join(lacking)}, which the checkpoint's CPU has"
    if node.free_bytes < need.memory_bytes:
        return f"has {node.free_bytes >> 20} MiB of memory to give, it needs {need.memory_bytes >> 20}"
    if no_place := refused(asks, node.site, sites):
        return no_place
    if need.devices and not asks.devices:
        return f"is not known to have {', '.join(need.devices)}, which the checkpoint's container was given on its node"
    if _only_local(need.base_image, asks) and node.site.lacks_image(need.base_image):
        return f"lacks the base image {need.base_image}, which no registry has: it has {len(node.site.images)} others"
    return ""


def _only_local(image: str, asks: Placement) -> bool:
    """Whether a node either has it or never will. Any other is pulled when it is staged, or the node says that it cannot."""
    return bool(image) and (asks.never_pulls or image.startswith("localhost/"))


def missing_features(needed: tuple[str, ...], offered: tuple[str, ...]) -> list[str]:
    """What a program may have found out that it can use, and would not find there. Unknown on either side: nothing.

    Only instructions: /proc/cpuinfo also lists what the kernel does about the CPU's faults, which no program asks for.
    """
    if not needed or not offered:
        return []
    return sorted({f for f in needed if INSTRUCTIONS.fullmatch(f)} - set(offered))


def _version(text: str) -> tuple[int, ...]:
    """The leading numbers: 6.18.2-generic is (6, 18, 2)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
