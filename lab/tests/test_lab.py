"""The lab's pure parts: configuration, keys, refusals, and telling our processes from strangers."""

import json
import os
import tarfile
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from reprise_lab import (
    build,
    configs,
    containerd,
    control_plane,
    faults,
    images,
    kind,
    lock,
    network,
    node,
    pki,
    preflight,
    shell,
    versions,
    volumes,
)
from reprise_lab.kind import Cgroup, Kind, Kubernetes, Runtime
from reprise_lab.paths import HOME, NODES, NODES_VARIABLE, set_nodes


def test_another_checkouts_lab_is_refused_with_its_name_and_the_way_out() -> None:
    reason = lock.refusal({"checkout": "/somewhere/else", "pid": 7}, "/here")
    assert "/somewhere/else" in reason
    assert "make down" in reason
    assert lock.refusal({"checkout": "/here", "pid": 7}, "/here") == ""
    assert lock.refusal({}, "/here") == ""


@pytest.mark.parametrize(("text", "version"), [("go1.26.8", (1, 26)), ("go1.24", (1, 24)), ("", ()), ("devel", ())])
def test_gos_version_is_read(text: str, version: tuple[int, ...]) -> None:
    assert preflight.go_version(text) == version


def test_a_machine_that_lacks_things_is_told_all_of_them_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [
        preflight.Check("Go >= 1.24", False, "not found", "apt-get install golang"),
        preflight.Check("root", False, "uid 1", "be root"),
    ]
    monkeypatch.setattr(preflight, "checks", lambda _: [*missing, preflight.Check("gcc", True, "/usr/bin/gcc")])
    monkeypatch.setattr(preflight, "install_missing", lambda: None)
    with pytest.raises(shell.LabError) as told:
        preflight.require()
    assert "Go >= 1.24: not found. To get it: apt-get install golang" in str(told.value)
    assert "root: uid 1" in str(told.value)
    assert "gcc" not in str(told.value)


KINDS = [Kind(runtime, cgroup, kubernetes) for runtime in Runtime for cgroup in Cgroup for kubernetes in Kubernetes]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the choice is kept; nothing is chosen, here or in the environment."""
    monkeypatch.setattr(kind, "FILE", tmp_path / "kind.json")
    for name in (kind.RUNTIME_VARIABLE, kind.CGROUP_VARIABLE, kind.KUBERNETES_VARIABLE, NODES_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    before = len(NODES)
    yield tmp_path / "kind.json"
    set_nodes(before)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("wanted", KINDS, ids=str)
def test_a_kind_of_node_is_remembered_until_the_lab_is_down(wanted: Kind) -> None:
    assert kind.recorded() is None
    kind.record(wanted)
    assert kind.current() == wanted
    assert kind.choose(None, None) == wanted, "`up` again, without a choice, is the same lab"


def test_another_kind_than_the_one_that_is_up_is_refused_with_the_way_out(recorded: Path) -> None:
    kind.record(Kind(Runtime.CRIO, Cgroup.V1))
    with pytest.raises(shell.LabError, match=r"up with crio, cgroup v1 .*, not with crio, cgroup v2 .*: `reprise-lab down`"):
        kind.choose(None, Cgroup.V2)
    with pytest.raises(shell.LabError, match=r"Kubernetes 1.34, not with .* Kubernetes 1.37: `reprise-lab down`"):
        kind.choose(None, None, Kubernetes.V1_37)
    recorded.unlink()
    assert kind.choose(None, Cgroup.V2).cgroup is Cgroup.V2


def test_a_lab_that_was_booted_before_kubernetes_could_be_chosen_has_the_default(recorded: Path) -> None:
    recorded.write_text(json.dumps({"runtime": "crio", "cgroup": "v1"}))
    assert kind.current() == Kind(Runtime.CRIO, Cgroup.V1, Kubernetes.V1_34)


@pytest.mark.usefixtures("recorded")
def test_the_command_line_goes_before_the_environment_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind.choose(None, None) == kind.DEFAULT
    monkeypatch.setenv(kind.RUNTIME_VARIABLE, "crio")
    monkeypatch.setenv(kind.CGROUP_VARIABLE, "v1")
    assert kind.choose(None, None) == Kind(Runtime.CRIO, Cgroup.V1)
    assert kind.choose(Runtime.CONTAINERD, None) == Kind(Runtime.CONTAINERD, Cgroup.V1)
    monkeypatch.setenv(kind.KUBERNETES_VARIABLE, "1.37")
    assert kind.choose(None, None).kubernetes is Kubernetes.V1_37
    assert kind.choose(None, None, Kubernetes.V1_34).kubernetes is Kubernetes.V1_34
    monkeypatch.setenv(kind.CGROUP_VARIABLE, "v3")
    with pytest.raises(shell.LabError, match="REPRISE_LAB_CGROUP is v1 or v2"):
        kind.choose(None, None)


def test_a_lab_that_was_booted_before_nodes_could_be_chosen_has_two(recorded: Path) -> None:
    recorded.write_text(json.dumps({"runtime": "crio", "cgroup": "v2", "kubernetes": "1.34"}))
    assert kind.current().nodes == 2
    with pytest.raises(shell.LabError, match=r"up with crio.*, not with .*, 3 nodes: `reprise-lab down`"):
        kind.choose(None, None, None, 3)


@pytest.mark.usefixtures("recorded")
def test_three_nodes_are_there_for_everybody_once_they_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind.choose(None, None) == kind.DEFAULT
    monkeypatch.setenv(NODES_VARIABLE, "3")
    kind.record(kind.choose(None, None))
    assert kind.current().replicated
    assert NODES == {"n1": "10.77.0.11", "n2": "10.77.0.12", "n3": "10.77.0.13"}
    monkeypatch.delenv(NODES_VARIABLE)
    assert kind.choose(None, None).nodes == 3, "`up` again, without a choice, is the same lab"


@pytest.mark.usefixtures("recorded")
def test_another_number_of_nodes_or_three_with_the_old_cgroups_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(shell.LabError, match="cgroup v2 only"):
        kind.choose(None, Cgroup.V1, None, 3)
    for told in ("4", "many"):
        monkeypatch.setenv(NODES_VARIABLE, told)
        with pytest.raises(shell.LabError, match=f"{NODES_VARIABLE} is 2 or 3"):
            kind.choose(None, None)


def test_three_nodes_need_half_as_much_memory_again() -> None:
    assert [preflight.memory(nodes).name for nodes in (2, 3)] == ["6 GiB of memory", "9 GiB of memory"]


@pytest.mark.usefixtures("recorded")
def test_every_claim_of_the_servers_finds_a_volume_on_each_node() -> None:
    set_nodes(3)
    [default, *found] = volumes.manifests()
    assert default["volumeBindingMode"] == "WaitForFirstConsumer", "a claim that is bound sooner may be on another node"
    for name in NODES:
        here = [v for v in found if f"'values': ['{name}']" in str(v["spec"]["nodeAffinity"])]
        claims = ("data", "data-0", "data-1")
        assert len({v["spec"]["local"]["path"] for v in here}) == len(claims)


def test_services_are_reached_by_the_node_that_stays_on_else_by_any_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(network, "run", lambda *words, **_: told.append(words[-1]))
    for on in (["n1", "n2"], ["n1"], []):
        network.route_services(on)
    assert told == ["10.77.0.12", "10.77.0.11", "10.77.0.12"]


@pytest.mark.parametrize("of", KINDS, ids=str)
@pytest.mark.parametrize("name", NODES)
def test_a_nodes_files_parse_and_name_the_node(name: str, of: Kind) -> None:
    found = configs.files(name, NODES[name], of)
    kubelet = yaml.safe_load(found["etc/kubernetes/kubelet.yaml"])
    assert kubelet["tlsCertFile"].endswith(f"{name}.crt")
    assert yaml.safe_load(found["etc/kubernetes/kube-proxy.yaml"])["hostnameOverride"] == name
    subnet = json.loads(found["etc/cni/net.d/10-lab.conflist"])["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
    assert subnet == f"10.78.{NODES[name].rpartition('.')[2]}.0/24"
    assert kubelet["containerRuntimeEndpoint"] == f"unix:///run/{of.runtime}/{of.runtime}.sock"


@pytest.mark.parametrize(
    ("of", "gates"),
    [
        (Kind(cgroup=Cgroup.V2, kubernetes=Kubernetes.V1_34), {"InPlacePodVerticalScaling": False}),
        (Kind(cgroup=Cgroup.V2, kubernetes=Kubernetes.V1_37), None),
        (Kind(cgroup=Cgroup.V1, kubernetes=Kubernetes.V1_34), None),
        (Kind(cgroup=Cgroup.V1, kubernetes=Kubernetes.V1_37), None),
    ],
    ids=str,
)
def test_a_gate_that_is_locked_is_not_set(of: Kind, gates: dict[str, bool] | None) -> None:
    """1.37 refuses to start with it; 1.34 panics without it where pods have no cgroups."""
    assert yaml.safe_load(configs.kubelet("n1", of)).get("featureGates") == gates


def test_a_kubernetes_is_built_by_those_who_ask_for_it_alone() -> None:
    def built(chosen: Kubernetes, *, everything: bool) -> set[str]:
        go, _ = build.parts()
        return {p.name for p in go if p.name.startswith("kubernetes")} - build.skipped(chosen, everything=everything)

    assert built(Kubernetes.V1_34, everything=True) == {"kubernetes"}
    assert built(Kubernetes.V1_34, everything=False) == {"kubernetes"}
    assert built(Kubernetes.V1_37, everything=False) == {"kubernetes-1.37"}
    assert built(Kubernetes.V1_37, everything=True) == {"kubernetes", "kubernetes-1.37"}, "tests call the default's kubectl"


def test_two_kubernetes_share_no_program_and_no_stamp() -> None:
    old, new = (next(p for p in build.parts()[0] if p.name == name) for name in ("kubernetes", "kubernetes-1.37"))
    assert not set(old.products) & set(new.products)
    assert not fnmatch(new.stamp.name, f"{old.name}.*"), "making one removes the older stamps of its name"
    assert (old.key, new.key) == (versions.KUBERNETES, versions.KUBERNETES_NEWEST)


@pytest.mark.parametrize("of", KINDS, ids=str)
def test_the_whole_cluster_runs_the_kubernetes_that_was_chosen(of: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def daemon(_: str, *words: object, **__: object) -> None:
        started.append(str(next(word for word in words if str(word).startswith("/lab/bin"))))

    monkeypatch.setattr(kind, "recorded", lambda: of)
    monkeypatch.setattr(node, "daemon", daemon)
    monkeypatch.setattr(node.Node, "_enter", lambda _: [])
    for component in ("kubelet", "kube-proxy"):
        node.Node("n1").start(component)
    below = {Kubernetes.V1_34: "bin", Kubernetes.V1_37: "bin/kubernetes-1.37"}[of.kubernetes]
    assert started == [f"/lab/{below}/kubelet", f"/lab/{below}/kube-proxy"]
    hosts = [control_plane.command(name)[0] for name in control_plane.COMPONENTS if name != "etcd"]
    assert {str(path).rpartition("/")[0] for path in (*hosts, shell.kubectl_command()[0])} == {str(HOME / below)}


@pytest.mark.parametrize(("kubernetes", "named"), [(Kubernetes.V1_34, True), (Kubernetes.V1_37, False)])
def test_no_controller_is_named_that_a_controller_manager_lacks(
    kubernetes: Kubernetes, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end at once: the cloud's controllers are gone from 1.37."""
    monkeypatch.setattr(kind, "recorded", lambda: Kind(kubernetes=kubernetes))
    words = [str(word) for word in control_plane.command("kube-controller-manager")]
    [controllers] = [word for word in words if word.startswith("--controllers=*")]
    assert ("-node-route-controller" in controllers) is named


def test_crio_has_no_signature_policy() -> None:
    """With one it refuses to restore."""
    assert "signature_policy =" not in configs.files("n1", NODES["n1"], Kind(Runtime.CRIO))["etc/crio/crio.conf"]


@pytest.mark.parametrize("runtime", Runtime)
def test_a_runtime_calls_the_engine_by_the_drop_in_that_users_get(runtime: Runtime) -> None:
    drop_ins = {path: tomllib.loads(text) for path, text in configs.runtime(Kind(runtime)).items() if "conf.d/" in path}
    told = {
        Runtime.CRIO: lambda d: d["crio"]["runtime"]["runtimes"]["runc"]["runtime_path"],
        Runtime.CONTAINERD: lambda d: d["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["runc"]["options"][
            "BinaryName"
        ],
    }[runtime]
    assert [told(drop_in) for drop_in in drop_ins.values()] == ["/opt/reprise/bin/reprise-runc"]


def test_the_labs_engine_is_the_users_but_for_the_runtime_behind_it() -> None:
    users = json.loads((configs.DROP_INS / "engine.json").read_text())
    assert json.loads(configs.engine()) == users | {"runc": "/lab/bin/runc-lab"}


def test_the_lab_builds_the_engine_as_users_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script says how the linker makes it, and how it is made is part of what it is."""
    told: list[object] = []
    monkeypatch.setattr(build, "ENGINE", tmp_path)
    (tmp_path / ".reprise-runc").touch()
    monkeypatch.setattr(build, "logged", lambda _part, *command, **_kw: told.extend(command))
    build.engine()
    assert told[0] == build.CHECKOUT / "engine/build.sh"
    monkeypatch.setattr(build, "CHECKOUT", tmp_path)
    keys = []
    for name in ("go.mod", "build.sh", "internal/entry/entry_linux_amd64.s", "main.go", "main_test.go"):
        (tmp_path / "engine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "engine" / name).touch()
        keys.append(build.engine_key())
    assert len(set(keys)) == 4, "of everything but tests"


@pytest.mark.parametrize("of", KINDS, ids=str)
def test_a_containers_processes_are_found_whatever_the_node_is_made_of(
    of: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "CGROUP", tmp_path)
    monkeypatch.setattr(kind, "recorded", lambda: of)
    top = tmp_path / {Cgroup.V1: "freezer", Cgroup.V2: "unified"}[of.cgroup] / "replab/n2/kubepods"
    container = top / "poduid-1" / {Runtime.CRIO: "crio-abc", Runtime.CONTAINERD: "abc"}[of.runtime]
    (container / "nested").mkdir(parents=True)
    (container / "cgroup.procs").write_text("999999991\n")
    (container / "nested/cgroup.procs").write_text("999999992\n")
    assert faults.container_pids("uid-1", "abc") == [999999991, 999999992]
    assert faults.container_pids("uid-2", "abc") == []
    assert faults.living_pids("uid-1") == [999999991]


def test_a_nodes_copy_of_the_images_shares_layers_but_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template, node = tmp_path / "template", tmp_path / "n1/containerd"
    layers = f"{containerd.SNAPSHOTTER}/snapshots"
    for name in (f"{containerd.CONTENT}/blob", containerd.DATABASE, f"{containerd.SNAPSHOTTER}/metadata.db", containerd.NOTE):
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text("old")
    (template / layers / "7/fs").mkdir(parents=True)
    monkeypatch.setattr(containerd, "TEMPLATE", template)
    containerd.furnish(node)
    assert (node / containerd.CONTENT / "blob").samefile(template / containerd.CONTENT / "blob")
    assert (node / layers / "7").readlink() == Path("/lab/layers/7")
    for name in (containerd.DATABASE, containerd.NOTE):
        (node / name).write_text("new")
    containerd.furnish(node)
    assert (node / containerd.NOTE).read_text() == "new", "a node that boots again has the disk it had"
    assert (template / containerd.DATABASE).read_text() == (template / containerd.NOTE).read_text() == "old"


def test_only_layers_that_a_node_lacks_are_carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerd, "LAYOUT", tmp_path / "oci")
    images.layout(tmp_path / "oci", ["/x"], {"/x": b"binary"})
    index = json.loads((tmp_path / "oci/index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "localhost/x:lab"}
    (tmp_path / "oci/index.json").write_text(json.dumps(index))
    blobs = {p.name: p for p in (tmp_path / "oci/blobs/sha256").iterdir()}
    layer = max(blobs, key=lambda name: blobs[name].stat().st_size)
    (tmp_path / "present").mkdir()

    def carried() -> set[str]:
        containerd.pack(tmp_path / "out.tar", {"localhost/x:lab"}, tmp_path / "present")
        with tarfile.open(tmp_path / "out.tar") as tar:
            return {Path(name).name for name in tar.getnames() if name.startswith("blobs/")}

    assert carried() == set(blobs)
    (tmp_path / "present" / layer).touch()
    assert carried() == set(blobs) - {layer}


def test_each_node_has_a_pod_network_of_its_own() -> None:
    cnis = [configs.cni(ip) for ip in NODES.values()]
    assert len(set(cnis)) == len(NODES)


def test_a_recycled_pid_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "RUN", tmp_path)
    shell.write_pid("mine", os.getpid())
    assert shell.pid_of("mine") == os.getpid()
    (tmp_path / "mine.pid").write_text(f"{os.getpid()} 1")
    assert shell.pid_of("mine") is None
    (tmp_path / "mine.pid").write_text("garbage")
    assert shell.pid_of("mine") is None


def test_a_failed_command_is_an_error_in_its_own_words() -> None:
    with pytest.raises(shell.LabError, match="no such thing"):
        shell.run("sh", "-c", "echo no such thing >&2; exit 3")


def test_an_images_key_follows_its_sources_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "tests" / "src"  # a checkout may lie below a folder of that name
    source.mkdir(parents=True)
    (source / "a.py").write_text("1")
    before = images.digest([source])
    (source / "tests").mkdir()
    (source / "tests/test_a.py").write_text("x")
    assert images.digest([source]) == before
    (source / "a.py").write_text("2")
    assert images.digest([source]) != before


def test_a_layout_is_reproducible_and_names_its_blobs_by_digest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        images.layout(tmp_path / name, ["/x"], {"/x": b"binary"})
    assert (tmp_path / "one/index.json").read_bytes() == (tmp_path / "two/index.json").read_bytes()
    manifest = json.loads((tmp_path / "one/index.json").read_text())["manifests"][0]
    assert (tmp_path / "one/blobs/sha256" / manifest["digest"].removeprefix("sha256:")).exists()


@pytest.mark.parametrize("what", ["all", "nats", "api"])
def test_a_cut_drops_both_ways(what: faults.From) -> None:
    rules = [rule for found in faults.cut_rules(what).values() for rule in found]
    assert all(rule.endswith(" drop") for rule in rules)
    assert len(set(rules)) == 2


def test_the_control_planes_address_is_in_every_kubeconfig() -> None:
    assert pki.API == "https://10.77.0.2:6443"
