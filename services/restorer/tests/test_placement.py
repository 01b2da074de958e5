"""Compatibility: where a pod may be restored, and from what. A refusal comes before anything is fenced and names both sides."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio import client
from reprise.contracts.model import Target
from reprise.restorer.adapters.cluster import _among, next_of, shadow_of
from reprise.restorer.adapters.placing import claimed, placement_of, resident_of, site_of
from reprise.restorer.choosing import fitting, unlike
from reprise.restorer.decide import plan
from reprise.restorer.model import Good, Need, NodeView, Plan, PodView, Snapshot, Stop
from reprise.restorer.placement import (
    Neighbours,
    Placement,
    Requirement,
    Resident,
    Site,
    Taint,
    Toleration,
    Volume,
    others_than,
    refused,
    same_image,
    tied,
)

TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", "counter-abc", wanted=1)
GOOD = (Good("ck2", Need()), Good("ck1", Need()))
SITE = Site("n2", labels=(("zone", "b"),), free=(("cpu", 2.0), ("memory", 4e9), ("pods", 10.0)))
N1 = NodeView("n1", ready=True, schedulable=True, architecture="amd64", protected_pods=1)
N2 = replace(N1, name="n2", protected_pods=0, site=SITE)
LOST = Snapshot("node-loss", TARGET, POD, GOOD, (N1, N2))
SSD = (Requirement("disk", "In", ("ssd",)),)
WEB = (Requirement("app", "In", ("web",)),)
WEB_POD = Resident("u7", "default", (("app", "web"),), host_ports=(("TCP", 8080),))


def planned(asks: Placement, need: Need | None = None, site: Site = SITE) -> Plan | Stop:
    nodes = (N1, replace(N2, site=site))
    return plan(replace(LOST, pod=replace(POD, asks=asks), good=(replace(GOOD[0], need=need or Need()),), nodes=nodes))


@pytest.mark.parametrize(
    ("asks", "need", "site", "said"),
    [
        (Placement(selector=(("zone", "a"),)), Need(), SITE, ("zone=b", "zone=a")),
        (Placement(selector=(("disk", "ssd"),)), Need(), SITE, ("no disk", "disk=ssd")),
        (Placement(affinity=(SSD,)), Need(), SITE, ("no disk", "disk In ssd")),
        (Placement(), Need(), replace(SITE, taints=(Taint("gpu", "yes", "NoSchedule"),)), ("gpu=yes:NoSchedule",)),
        (Placement(requests=(("cpu", 4.0),)), Need(), SITE, ("2 of cpu", "requests 4")),
        (Placement(requests=(("example.com/gpu", 1.0),)), Need(), SITE, ("0 of example.com/gpu", "requests 1")),
        (Placement(), Need(), replace(SITE, free=(("pods", 0.0),)), ("as many pods as it may",)),
        (Placement(host_ports=(("TCP", 8080),)), Need(), replace(SITE, residents=(WEB_POD,)), ("8080/TCP", "hostPort")),
        (Placement(volumes=(Volume("data", terms=((Requirement("zone", "In", ("a",)),),)),)), Need(), SITE,
         ("zone=b", "data", "zone In a")),
        (Placement(neighbours=(Neighbours("zone", WEB, ("default",), apart=True),)), Need(),
         replace(SITE, residents=(WEB_POD,)), ("zone=b", "app In web", "apart")),
        (Placement(neighbours=(Neighbours("zone", WEB, ("default",), apart=False),)), Need(), SITE, ("zone=b", "near")),
        (Placement(), Need(devices=("/dev/fuse",)), SITE, ("/dev/fuse", "n2")),
        (Placement(), Need(base_image="localhost/counter:1"), replace(SITE, images=frozenset({"quay.io/x:1"})),
         ("localhost/counter:1", "no registry")),
        (Placement(never_pulls=True), Need(base_image="quay.io/counter:1"), replace(SITE, images=frozenset({"quay.io/x:1"})),
         ("quay.io/counter:1",)),
    ],
)  # fmt: skip
def test_a_node_on_which_the_scheduler_would_not_put_the_pod_is_refused_and_both_sides_are_named(
    asks: Placement, need: Need, site: Site, said: tuple[str, ...]
) -> None:
    decision = planned(asks, need, site)
    assert isinstance(decision, Stop)
    assert (decision.reason, decision.later) == ("NoStandby", True)
    assert all(side in decision.message for side in said), decision.message


@pytest.mark.parametrize(
    ("asks", "need", "site"),
    [
        (Placement(selector=(("zone", "b"),)), Need(), SITE),
        (Placement(affinity=(SSD, (Requirement("metadata.name", "In", ("n2",)),))), Need(), SITE),
        (Placement(affinity=((Requirement("cores", "Gt", ("4",)),),)), Need(), replace(SITE, labels=(("cores", "8"),))),
        (Placement(tolerations=(Toleration("gpu", "Exists"),)), Need(), replace(SITE, taints=(Taint("gpu", "y", "NoExecute"),))),
        (Placement(), Need(), replace(SITE, taints=(Taint("gpu", "y", "PreferNoSchedule"),))),
        (Placement(requests=(("example.com/gpu", 1.0),)), Need(devices=("/dev/gpu0",)),
         replace(SITE, free=(("example.com/gpu", 1.0), ("pods", 9.0)))),
        (Placement(uid="u7", host_ports=(("TCP", 8080),)), Need(), replace(SITE, residents=(WEB_POD,))),
        (Placement(neighbours=(Neighbours("zone", WEB, ("other",), apart=True),)), Need(), replace(SITE, residents=(WEB_POD,))),
        (Placement(), Need(base_image="quay.io/counter:1"), replace(SITE, images=frozenset({"quay.io/x:1"}))),
        (Placement(), Need(base_image="localhost/counter:1"), SITE),
    ],
)  # fmt: skip
def test_what_it_has_or_tolerates_or_what_is_not_known_is_no_limit(asks: Placement, need: Need, site: Site) -> None:
    decision = planned(asks, need, site)
    assert isinstance(decision, Plan), decision


def test_a_topology_wider_than_a_node_is_looked_at_as_a_whole() -> None:
    asks = Placement(neighbours=(Neighbours("zone", WEB, (), apart=True),))
    near = replace(SITE, name="n3", residents=(WEB_POD,))
    assert "zone=b" in refused(asks, SITE, (SITE, near))
    assert not refused(asks, SITE, (SITE, replace(near, labels=(("zone", "c"),))))


class TestVolumes:
    @pytest.mark.parametrize("tie", ["hostPath /srv/data", "claim data (ReadWriteOnce)", "claim data, a local volume"])
    def test_one_that_is_tied_to_its_node_keeps_the_pod_there(self, tie: str) -> None:
        decision = planned(Placement(volumes=(Volume("data", tied=tie),)))
        assert isinstance(decision, Stop)
        assert (decision.reason, decision.later) == ("NotMovable", False)
        assert tie in decision.message
        assert "stays on n1" in decision.message

    def test_an_empty_dir_comes_along_empty_and_the_plan_says_so(self) -> None:
        decision = planned(Placement(volumes=(Volume("cache", forgets=True), Volume("config"))))
        assert isinstance(decision, Plan)
        assert "what is in its volume cache is not moved" in decision.why

    def test_a_crash_in_place_does_not_mind_either(self) -> None:
        asks = Placement(volumes=(Volume("data", tied="hostPath /srv"), Volume("cache", forgets=True)))
        decision = plan(replace(LOST, cause="crash", pod=replace(POD, asks=asks)))
        assert isinstance(decision, Plan)
        assert decision.path == "in-place"


class TestTemplate:
    """A rollout changes what the pod runs and mounts: what was checkpointed before does not fit it."""

    def test_a_checkpoint_of_another_image_is_not_restored_over_a_rollout(self) -> None:
        pod = replace(POD, image="quay.io/counter:2")
        good = (Good("ck2", Need(base_image="quay.io/counter:1")),)
        others = others_than("quay.io/counter:2", [("quay.io/counter:2", "quay.io/counter@sha256:b"), ("quay.io/counter:1",)])
        left, unfit = fitting(good, pod, others)
        assert left == ()
        decision = plan(replace(LOST, pod=pod, good=(), unfit=unfit))
        assert isinstance(decision, Stop)
        assert decision.reason == "Incompatible"
        assert "quay.io/counter:1" in decision.message
        assert "quay.io/counter:2" in decision.message

    def test_names_that_differ_prove_nothing_unless_a_node_has_both_and_they_are_two_images(self) -> None:
        """CRI-O tells some name of the base image (internal/oci/container.go, SomeNameOfTheImage)."""
        pod, need = replace(POD, image="quay.io/counter:2"), Need(base_image="quay.io/counter:latest")
        assert not unlike(need, pod)
        assert not unlike(need, pod, others_than(pod.image, [("quay.io/counter:2", "quay.io/counter:latest")]))
        assert not unlike(need, pod, others_than(pod.image, [("quay.io/counter:latest",)])), "its own image is not listed"
        assert unlike(need, pod, others_than(pod.image, [("quay.io/counter:latest",), ("quay.io/counter:2",)]))

    def test_one_that_needs_a_mount_which_the_pod_lacks_is_not_restored(self) -> None:
        pod = replace(POD, asks=Placement(mounts=("/etc/hosts", "/data")))
        told = unlike(Need(mounts=("/data", "/secrets")), pod)
        assert "/secrets" in told
        assert "/etc/hosts, /data" in told
        assert not unlike(Need(mounts=("/data",)), pod)

    def test_an_older_one_that_fits_is_taken(self) -> None:
        good = (Good("ck2", Need(mounts=("/x",))), Good("ck1", Need(mounts=("/data",))))
        left, unfit = fitting(good, replace(POD, asks=Placement(mounts=("/data",))))
        assert [g.checkpoint_id for g in left] == ["ck1"]
        assert unfit.startswith("ck2 has mounts at /x")

    @pytest.mark.parametrize(
        ("one", "other", "may"),
        [
            ("docker.io/library/nginx", "nginx:latest", True),
            ("localhost:5000/a:1", "localhost:5000/a:2", False),
            ("quay.io/a:1", "quay.io/b:1", False),
            ("quay.io/a@sha256:1", "quay.io/a@sha256:2", False),
            ("quay.io/a@sha256:1", "quay.io/a:7", True),
            ("", "quay.io/a:7", True),
            ("ab" * 32, "quay.io/a:7", True),
        ],
    )
    def test_names_that_may_mean_one_image(self, one: str, other: str, may: bool) -> None:
        assert same_image(one, other) is may


def pod_of(**spec: object) -> client.V1Pod:
    mount = client.V1VolumeMount(name="data", mount_path="/data/")
    container = client.V1Container(
        name="counter", image="x", image_pull_policy="Never", volume_mounts=[mount],
        termination_message_path="/dev/termination-log",
        resources=client.V1ResourceRequirements(requests={"cpu": "500m"}, limits={"memory": "1Gi", "example.com/gpu": "1"}),
    )  # fmt: skip
    meta = client.V1ObjectMeta(name="counter-1", namespace="default", uid="u1", labels={"app": "counter"})
    return client.V1Pod(metadata=meta, spec=client.V1PodSpec(containers=[container], **spec))  # type: ignore[arg-type]


class TestAsTheApiServerHasIt:
    def test_a_pod(self) -> None:
        host_path = client.V1Volume(name="data", host_path=client.V1HostPathVolumeSource(path="/srv"))
        unused = client.V1Volume(name="unused", host_path=client.V1HostPathVolumeSource(path="/tmp"))
        asks = placement_of(pod_of(volumes=[host_path, unused], node_selector={"zone": "a"}), "counter", {})
        assert asks.volumes == (Volume("data", tied="hostPath /srv"),)
        assert dict(asks.requests) == {"cpu": 0.5, "memory": float(1 << 30), "example.com/gpu": 1.0}
        assert (asks.devices, asks.never_pulls, asks.selector) == (("example.com/gpu",), True, (("zone", "a"),))
        assert asks.mounts == ("/data", "/etc/hosts", "/dev/termination-log")

    @pytest.mark.parametrize(
        ("kind", "volume"),
        [
            ({"config_map": client.V1ConfigMapVolumeSource(name="c")}, Volume("data")),
            ({"secret": client.V1SecretVolumeSource(secret_name="s")}, Volume("data")),
            ({"projected": client.V1ProjectedVolumeSource()}, Volume("data")),
            ({"empty_dir": client.V1EmptyDirVolumeSource()}, Volume("data", forgets=True)),
        ],
    )
    def test_a_volume_that_comes_along(self, kind: dict[str, object], volume: Volume) -> None:
        found = client.V1Volume(name="data", **kind)  # type: ignore[arg-type]
        assert placement_of(pod_of(volumes=[found]), "counter", {}).volumes == (volume,)

    @pytest.mark.parametrize(("mode", "tied"), [("ReadWriteOnce", True), ("ReadWriteMany", False), ("ReadOnlyMany", False)])
    def test_a_claim_is_tied_unless_its_access_mode_is_for_many(self, mode: str, tied: bool) -> None:
        claim = client.V1PersistentVolumeClaim(
            metadata=client.V1ObjectMeta(name="data"), spec=client.V1PersistentVolumeClaimSpec(access_modes=[mode]),
            status=client.V1PersistentVolumeClaimStatus(),
        )  # fmt: skip
        assert bool(claimed("data", claim, None).tied) is tied

    @pytest.mark.parametrize(("local", "follows"), [(False, True), (True, False)])
    def test_a_claim_of_one_node_at_a_time_comes_along_once_its_pod_is_gone_unless_it_is_local(
        self, local: bool, follows: bool
    ) -> None:
        """Which it is on the route `same name` only."""
        spec = client.V1PersistentVolumeClaimSpec(access_modes=["ReadWriteOnce"], volume_name="pv")
        claim = client.V1PersistentVolumeClaim(
            metadata=client.V1ObjectMeta(name="data"), spec=spec, status=client.V1PersistentVolumeClaimStatus()
        )
        kind = client.V1LocalVolumeSource(path="/srv") if local else None
        bound = client.V1PersistentVolume(spec=client.V1PersistentVolumeSpec(local=kind))
        asks = Placement(volumes=(claimed("data", claim, bound),))
        assert tied(asks, "n1")
        assert bool(tied(asks, "n1", alone=True)) is not follows
        assert claimed("data", claim, None).follows is False, "nothing is known of a claim that is not bound"

    def test_the_next_pod_of_a_name_is_the_one_before_it_without_what_servers_set(self) -> None:
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s", "controller": True}
        spec = {"nodeName": "n1", "priority": 0, "containers": [{"name": "db", "image": "x"}], "hostname": "db-0"}
        said = {"theirs": "kept", "reprise.dev/restore-from": "u0/ck1", "reprise.dev/nudged": "fo-1"}
        meta = {"name": "db-0", "namespace": "shop", "uid": "u1", "resourceVersion": "7", "labels": {"app": "db"},
                "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": said,
                "ownerReferences": [owner | {"blockOwnerDeletion": True}]}  # fmt: skip
        made = next_of({"metadata": meta, "spec": spec, "status": {"phase": "Running"}}, {"reprise.dev/restore-from": "u1/ck2"})
        assert made == {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "db-0", "namespace": "shop", "labels": {"app": "db"},
                         "annotations": {"theirs": "kept", "reprise.dev/restore-from": "u1/ck2"},
                         "ownerReferences": [owner | {"blockOwnerDeletion": False}]},
            "spec": {"containers": [{"name": "db", "image": "x"}], "hostname": "db-0"},
        }  # fmt: skip
        assert spec["nodeName"] == "n1", "what it is made of is left as it was"
        accepted: Any = client.V1Pod.from_dict(made)
        assert accepted.spec.hostname == "db-0"

    @pytest.mark.parametrize(
        ("pod", "among"), [("db-0", False), ("db-1", True), ("db-3", True), ("db-4", False), ("db-x", False)]
    )
    def test_a_statefulset_wants_so_many_pods_from_its_first_on(self, pod: str, among: bool) -> None:
        spec = SimpleNamespace(replicas=3, ordinals=SimpleNamespace(start=1))
        assert _among(SimpleNamespace(metadata=SimpleNamespace(name="db"), spec=spec), pod) is among

    def test_a_node(self) -> None:
        allocatable = {"cpu": "2", "memory": "4Gi", "pods": "110"}
        node = client.V1Node(
            metadata=client.V1ObjectMeta(name="n2", labels={"zone": "b"}),
            spec=client.V1NodeSpec(taints=[client.V1Taint(key="gpu", effect="NoSchedule")]),
            status=client.V1NodeStatus(allocatable=allocatable, images=[client.V1ContainerImage(names=["quay.io/x:1"])]),
        )
        site = site_of(node, (resident_of(pod_of()),))
        free = dict(site.free)
        assert (free["cpu"], free["pods"], free["memory"]) == (1.5, 109.0, float(3 << 30))
        assert (site.taints, site.labels) == ((Taint("gpu", "", "NoSchedule"),), (("zone", "b"),))
        assert not site.lacks_image("x:1")
        assert site.lacks_image("quay.io/y:1")

    def test_a_shadow_is_its_owners_own_template_on_another_node(self) -> None:
        """Its image and its imagePullPolicy too: what it starts from is an annotation, which the engine reads."""
        template = client.V1PodTemplateSpec(
            metadata=client.V1ObjectMeta(labels={"app": "counter", "pod-template-hash": "abc"}, annotations={"theirs": "kept"}),
            spec=pod_of().spec,
        )
        assert template.spec
        made = shadow_of(template, "counter-fo-1", "n2", {"reprise.dev/restore-from": "u1/ck2"})
        assert made.spec.containers == template.spec.containers
        assert (made.spec.containers[0].image, made.spec.containers[0].image_pull_policy) == ("x", "Never")
        assert made.spec.node_name == "n2"
        assert made.metadata.labels == {"app": "counter"}, "its ReplicaSet does not count it yet"
        assert made.metadata.annotations == {"theirs": "kept", "reprise.dev/restore-from": "u1/ck2"}
