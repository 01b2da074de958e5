"""Which checkpoints a pod may be restored from, pure: good ones that fit, that are its own, and that nobody gave up (I2, I4)."""

from collections.abc import Iterable

from reprise.restorer.model import Good, Need, PodView, Recovery
from reprise.restorer.placement import same_image

REMEMBERED = 20


def usable(good: tuple[Good, ...], recovery: Recovery) -> tuple[Good, ...]:
    """Without what was given up, and what was taken of an instance that was."""
    return tuple(g for g in good if g.checkpoint_id not in recovery.rejected and (g.container_id or "-") not in recovery.dead)


def ours(good: tuple[Good, ...], pod: PodView | None) -> tuple[Good, ...]:
    """The pod's own first, then those of the pod that it was restored from. None of another one, whatever the number of replicas:
    that was another instance, and this one is not it.
    """
    if pod is None:
        return good
    ranks = {pod.restored_from: 1, pod.uid: 0}
    found = [each for each in good if each.pod_uid and each.pod_uid in ranks]
    return tuple(sorted(found, key=lambda each: ranks[each.pod_uid]))


def fitting(good: tuple[Good, ...], pod: PodView | None, others: frozenset[str] = frozenset()) -> tuple[tuple[Good, ...], str]:
    """Those that this pod can be restored from: a rollout may have changed what it runs and mounts since. And why the newest
    of the others is none of them. others: names of images that are certainly not the pod's.
    """
    why = [(g, unlike(g.need, pod, others)) for g in good]
    unfit = next((f"{g.checkpoint_id} {text}" for g, text in why if text), "")
    return tuple(g for g, text in why if not text), unfit


def unlike(need: Need, pod: PodView | None, others: frozenset[str] = frozenset()) -> str:
    """What of the checkpoint the pod does not have; empty if it has all, as far as is known: the engine compares again.

    The runtime tells some name of the base image, which may be another than the pod's template has: names that differ prove
    nothing, unless a node has both and they are two images.
    """
    if pod is None:
        return ""
    if need.base_image in others and not same_image(need.base_image, pod.image):
        return f"is of the image {need.base_image}, the pod is to run {pod.image}"
    if pod.asks.mounts and (lacking := sorted(set(need.mounts) - set(pod.asks.mounts))):
        return f"has mounts at {', '.join(lacking)}, the pod has them only at {', '.join(pod.asks.mounts)}"
    return ""


def rejecting(before: Recovery, checkpoints: Iterable[str]) -> Recovery:
    """With what a node does not restore any more."""
    return Recovery(rejected=_last(before.rejected, *checkpoints), dead=before.dead)


def going_back(before: Recovery, good: tuple[Good, ...], wanted: str, container_id: str) -> Recovery:
    """What counts no more once this checkpoint is gone back to: what is newer, and what is still being checkpointed of the
    process that runs now.
    """
    newer = sorted(each.checkpoint_id for each in good if each.checkpoint_id > wanted)
    kept = [each for each in before.rejected if each != wanted]
    return Recovery(rejected=tuple(dict.fromkeys((*kept, *newer))), dead=_last(before.dead, container_id))


def went_back_to(before: Recovery, wanted: str, checkpoint_id: str) -> Recovery:
    """The engine restored another one than was chosen: that counts, and the chosen one does not."""
    kept = [each for each in before.rejected if each != checkpoint_id]
    return Recovery(rejected=_last(tuple(kept), wanted), dead=before.dead)


def _last(before: tuple[str, ...], *new: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *new)))[-REMEMBERED:]
