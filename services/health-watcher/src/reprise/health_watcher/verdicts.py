"""Joins what is known of each protected container to the snapshot that the rule decides from, and writes the pods' files.

A file is written for every pod of the node, so that the engine knows at once which ones are none of its business. Until the
informer knows the node's pods, the files that the agent before this one left stay, but for what a lapsed lease forbids.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reprise.contracts.annotations import RESTORE_FROM
from reprise.contracts.model import Workload
from reprise.health_watcher.adapters.slots import Slots
from reprise.health_watcher.cold_starts import ColdStarts
from reprise.health_watcher.fences import Asked, Fences
from reprise.health_watcher.history import History
from reprise.health_watcher.lease import Lease
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.model import Name
from reprise.health_watcher.ports import Look
from reprise.health_watcher.resumes import Newcomer, Resumes
from reprise.health_watcher.rules import origin as origins
from reprise.health_watcher.rules.verdict import Decision, Origin, Snapshot, decide
from reprise.health_watcher.starts import Starts
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.nodefiles import ContainerVerdict, NodeFiles, Owner, PodFile
from reprise.runtime.telemetry import log

KEPT_S = 60.0
"""The file of a protected pod that is gone is kept for so long: the engine may be waiting at it, for 20 s at most, and takes a
pod without a file for one that its agent knows nothing of.
"""


@dataclass(frozen=True)
class Known:
    """A pod of this node. names: its protected containers. found: its verdicts as an agent before this one left them, while the
    informer does not know it. uid: as the kubelet has it.
    """

    namespace: str
    name: str
    uid: str
    workload: Workload | None
    deleting: bool
    names: tuple[str, ...]
    annotations: Mapping[str, str]
    absent_at_s: float = float("-inf")
    found: Mapping[str, ContainerVerdict] | None = None


class Verdicts:
    """sole writer of pods/<uid>.json."""

    def __init__(
        self, files: NodeFiles, pods: ProtectedPods, slots: Slots, starts: Starts, history: History, lease: Lease,
        ledger: Ledger, fences: Fences, resumes: Resumes, cold: ColdStarts,
    ) -> None:  # fmt: skip
        self._files, self._pods, self._slots, self._starts, self._history = files, pods, slots, starts, history
        self._lease, self._ledger, self._fences, self._resumes, self._cold = lease, ledger, fences, resumes, cold
        self._written = {uid: file for uid in files.pods() if (file := files.read_pod(uid))}
        self._found = dict(self._written)
        """As they were when this agent started."""
        self._known: dict[str, Known] = {}
        self._gone_at_s: dict[str, float] = {}
        self._opened: set[Name] = set()
        self.look = Look(())
        self.looked = False
        """Whether the runtime was asked since this agent started: before, a pod that runs looks like one that does not."""
        self.lapse_ended_s = float("-inf")
        """By CLOCK_BOOTTIME, as the informer's moments."""

    def protects(self, container: RunningContainer) -> bool:
        pod = self._known.get(container.pod_uid)
        return (pod is not None and container.name in pod.names) or container.id in self._ledger.frozen

    def protected(self) -> Iterable[RunningContainer]:
        """What runs, and is protected."""
        return [c for c in self._running() if self.protects(c)]

    def opened(self) -> list[RunningContainer]:
        """The dead containers of those that may start since the last call, and do not run: the kubelet backs off because of them,
        the longer the more often the engine refused. Only those of which was told how they ended.
        """
        names, self._opened = self._opened - {(c.pod_uid, c.name) for c in self._running()}, set()
        return [
            c for c in self.look.containers
            if (c.pod_uid, c.name) in names and c.state == "exited" and self._history.of((c.pod_uid, c.name)).container_id == c.id
        ]  # fmt: skip

    def leaves(self, pod_uid: str) -> bool:
        """Whether it is being deleted, or is gone."""
        pod = self._known.get(pod_uid)
        return self._pods.synced and (pod is None or pod.deleting)

    def decide(self, container: RunningContainer) -> Decision:
        """For an instance that runs."""
        pod = self._known.get(container.pod_uid) or self._unknown(container)
        return decide(self._snapshot(pod, container.name, container))

    def _unknown(self, container: RunningContainer) -> Known:
        """Its pod is gone from everywhere."""
        return Known(container.namespace, container.pod, container.pod_uid, None, self._pods.synced, (container.name,), {})

    def refresh(self) -> bool:
        """Look at all pods, and write the files that differ. False if one could not be written."""
        self._known = {pod.uid: pod for pod in self._pods_here()}
        for pod in self._known.values():
            if pod.names and not self._fences.knows(pod.uid):
                self._first_standing(pod)
        self._fences.interested(tuple(self._asked()), looked=self.looked)
        self._resumes.interested(tuple(self._newcomers()))
        failed = [pod for pod in self._known.values() if not self._write(self._file(pod))]
        names = ", ".join(pod.name for pod in failed)
        self._lease.note("verdicts cannot be written for the engine", names and f"of {names}, see the agent's log")
        self._remove_gone()
        if self._pods.synced and not failed:
            self._lease.may_be_told()
        return not failed

    def _first_standing(self, pod: Known) -> None:
        """See rules/verdict.py: who need not be asked before it starts."""
        verdicts = self._found[pod.uid].containers.values() if pod.uid in self._found else ()
        frozen = any(each.pod_uid == pod.uid for each in self._ledger.frozen.values())
        if frozen or self._lease.lapsed():
            self._fences.take(pod.uid, "unknown")
        elif pod.absent_at_s > self.lapse_ended_s:
            self._fences.take(pod.uid, "ours")
        elif verdicts and all(each.verdict in ("restore", "blank") for each in verdicts):
            self._fences.take(pod.uid, "assumed")
        else:
            self._fences.take(pod.uid, "unknown")

    def _asked(self) -> Iterable[Asked]:
        for pod in self._known.values():
            if pod.names:
                here = [c for c in self._running() if c.pod_uid == pod.uid and c.name in pod.names]
                runs = bool(here) and not self._ledger.of_pod(pod.uid)
                yield Asked(pod.uid, pod.namespace, pod.name, runs)

    def _newcomers(self) -> Iterable[Newcomer]:
        """Pods that keep their name, of which nothing has started here, and nobody said yet from what it does."""
        for pod in self._known.values():
            keeps_name = pod.workload is not None and pod.workload.kind in ("StatefulSet", "Pod")
            if (
                keeps_name
                and pod.names
                and pod.found is None
                and RESTORE_FROM not in pod.annotations
                and not self._is_at_home(pod)
            ):
                yield Newcomer(pod.uid, pod.namespace, pod.name)

    def _is_at_home(self, pod: Known) -> bool:
        """It has started here before, whatever is left of that."""
        found = self._found.get(pod.uid)
        if found and any(each.verdict in ("restore", "blank") for each in found.containers.values()):
            return True
        if any(self._slots.kept(f"{pod.namespace}/{pod.uid}", name) for name in pod.names):
            return True
        starts = (self._starts.of(c.id) for c in self.look.containers if c.pod_uid == pod.uid)
        return any(start is not None and start.outcome != "refused" for start in starts)

    def _running(self) -> list[RunningContainer]:
        """A restored process runs as soon as it is there, which is before the runtime says so."""
        return [c for c in self.look.containers if c.state == "running" or (c.state == "created" and self._is_restored(c.id))]

    def was_restored_frozen(self, container_id: str) -> bool:
        start = self._starts.of(container_id)
        return start is not None and start.outcome == "restored" and start.frozen

    def _is_restored(self, container_id: str) -> bool:
        start = self._starts.of(container_id)
        return start is not None and start.outcome == "restored"

    def _pods_here(self) -> Iterable[Known]:
        informed = {pod.runtime_uid for pod in self._pods.everything.values()}
        if self._pods.synced:
            for pod in self._pods.everything.values():
                workload = protected.workload if (protected := self._pods.pods.get(pod.uid)) else pod.workload
                names = [c.name for c in protected.containers] if protected else []
                yield Known(
                    pod.namespace, pod.name, pod.runtime_uid, workload, pod.deleting,
                    self._names(pod.uid, names, pod.namespace, pod.annotations, pod.containers), pod.annotations, pod.absent_at_s,
                )  # fmt: skip
        for uid, file in self._written.items():
            gone = self._pods.synced and uid not in informed
            if not gone:
                self._gone_at_s.pop(uid, None)
            elif self._is_over(uid, file):
                continue  # _remove_gone
            if gone or not self._pods.synced:
                owner = file.workload or Owner(kind="Pod", name=file.pod)
                workload = Workload.model_construct(namespace=file.namespace, kind=owner.kind, name=owner.name)
                found = self._found.get(uid, file).containers
                yield Known(file.namespace, file.pod, uid, workload, gone, tuple(file.containers), {}, found=found)
        for container in self._running():
            uid = container.pod_uid
            if container.id in self._ledger.frozen and uid not in self._written and not (self._pods.synced and uid in informed):
                yield self._unknown(container)

    def _is_over(self, uid: str, file: PodFile) -> bool:
        """Of a pod that the API server does not have any more: whether nothing of it can start again here."""
        if any(c.pod_uid == uid for c in self.look.containers):
            return False
        since_s = self._gone_at_s.setdefault(uid, self._lease.clock())
        return not file.containers or self._lease.clock() - since_s >= KEPT_S

    def _names(
        self, uid: str, policy: list[str], namespace: str, annotations: Mapping[str, str], containers: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Those of the policy, those that the pod was made to restore, and those that stand still whatever the policy says."""
        names = dict.fromkeys(policy)
        names |= dict.fromkeys(each.container for each in self._ledger.of_pod(uid).values())
        if wanted := origins.wanted(namespace, annotations):  # a shadow's workload is not known before it is adopted
            here = self._slots.containers(wanted.slots, wanted.checkpoint_id) if not wanted.broken else {}
            known = self._written[uid].containers if uid in self._written else {}
            names |= dict.fromkeys(here or known or containers)  # until its checkpoint is there, nobody knows which one is meant
        if self._fences.of(uid).fence in ("theirs", "gone") and uid in self._written:
            names |= dict.fromkeys(self._written[uid].containers)
        return tuple(names)

    def _file(self, pod: Known) -> PodFile:
        return PodFile(
            namespace=pod.namespace, pod=pod.name, uid=pod.uid,
            workload=Owner(kind=pod.workload.kind, name=pod.workload.name) if pod.workload else None,
            containers={name: self._verdict(pod, name) for name in pod.names},
        )  # fmt: skip

    def _verdict(self, pod: Known, name: str) -> ContainerVerdict:
        running = [c for c in self._running() if (c.pod_uid, c.name) == (pod.uid, name)]
        newest = max(running, key=lambda c: c.created_at_ns, default=None)
        verdict = ContainerVerdict(**vars(decide(self._snapshot(pod, name, newest)).verdict))
        if pod.found is not None and verdict.verdict in ("restore", "blank"):
            return pod.found.get(name, verdict)
        return verdict

    def _snapshot(self, pod: Known, name: str, container: RunningContainer | None) -> Snapshot:
        standing, slots = self._fences.of(pod.uid), f"{pod.namespace}/{pod.uid}"
        holds = [held for held in self._ledger.held.values() if held.pod_uid == pod.uid]
        rejected = self._history.rejected((pod.uid, name))
        return Snapshot(
            slots=slots,
            lease_held=not self._lease.lapsed(),
            fence=standing.fence,
            failover_id=standing.failover_id,
            hold="" if not holds else "standing" if any(held.standing for held in holds) else "begun",
            next=self._resumes.of(pod.uid),
            origin=self._origin(pod, name),
            released=pod.uid in self._ledger.released,
            restored_frozen=container is not None and self.was_restored_frozen(container.id),
            cold=self._cold.next((pod.uid, name), container.id if container else ""),
            rejected=rejected,
            kept=self._slots.kept(slots, name) if rejected else (),
            stands=self._ledger.reasons(container.id) if container else frozenset(),
            deleting=pod.deleting,
            never_cold=self._never_cold(pod.uid),
            hands_out=self._hands_out(pod, name),
        )

    def _hands_out(self, pod: Known, name: str) -> bool:
        """By its policy; a shadow, whose workload is not known before it is adopted, by the checkpoint that it starts from."""
        if protected := self._pods.pods.get(pod.uid):
            return protected.policy.mode == "http"
        wanted = origins.wanted(pod.namespace, pod.annotations)
        return bool(wanted and not wanted.broken and self._slots.of_state(wanted.slots, name, wanted.checkpoint_id))

    def _never_cold(self, pod_uid: str) -> bool:
        pod = self._pods.pods.get(pod_uid)
        return pod is not None and "cold" not in pod.policy.on_failure

    def _origin(self, pod: Known, name: str) -> Origin | None:
        wanted = origins.wanted(pod.namespace, pod.annotations)
        if wanted is None:
            return None
        if wanted.broken:
            return Origin("", "", distrust=wanted.broken)
        if pod.uid in self._ledger.released:
            return Origin(wanted.slots, wanted.checkpoint_id)
        slot = self._slots.containers(wanted.slots, wanted.checkpoint_id).get(name)
        if slot is None or pod.workload is None:
            return Origin(wanted.slots, wanted.checkpoint_id, missing=True)
        ahead = origins.is_ahead(pod.annotations)
        why = origins.distrust(pod.workload, pod.name, pod.annotations, slot.namespace, slot.pod)
        return Origin(wanted.slots, wanted.checkpoint_id, ahead=ahead, distrust=why)

    def _write(self, file: PodFile) -> bool:
        if self._written.get(file.uid) == file:
            return True
        try:
            self._files.write_pod(file)
        except (OSError, ValueError) as error:
            log().error("a pod's verdicts could not be written", pod=file.pod, error=str(error))
            return False
        before = self._written.get(file.uid)
        for name, verdict in file.containers.items():
            was = before.containers.get(name) if before else None
            if was and was.verdict in ("wait", "refuse") and verdict.verdict in ("restore", "blank"):
                self._opened.add((file.uid, name))
            if was != verdict:
                log().info("verdict", pod=file.pod, container=name, verdict=verdict.verdict, reason=verdict.reason,
                           checkpoint=verdict.checkpoint_id)  # fmt: skip
        self._written[file.uid] = file
        return True

    def _remove_gone(self) -> None:
        if not self._pods.synced:
            return
        for uid in self._written.keys() - self._known.keys():
            try:
                self._files.remove_pod(uid)
            except OSError as error:
                log().warning("a pod's file could not be removed", uid=uid, error=str(error))
                continue
            del self._written[uid]
            self._found.pop(uid, None)
            self._gone_at_s.pop(uid, None)
        if self.looked:
            there = {c.id for c in self.look.containers}
            self._starts.forget(lambda container_id: container_id in there)
        self._ledger.forget_pods(set(self._known))
        self._cold.forget_pods(set(self._known))
