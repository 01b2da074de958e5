"""The lab's pure parts: configuration, keys, refusals, and telling our processes from strangers."""

import json
import os
from pathlib import Path

import pytest
import yaml
from reprise_lab import configs, faults, images, lock, pki, preflight, shell
from reprise_lab.paths import NODES


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
    monkeypatch.setattr(preflight, "checks", lambda: [*missing, preflight.Check("gcc", True, "/usr/bin/gcc")])
    monkeypatch.setattr(preflight, "install_missing", lambda: None)
    with pytest.raises(shell.LabError) as told:
        preflight.require()
    assert "Go >= 1.24: not found. To get it: apt-get install golang" in str(told.value)
    assert "root: uid 1" in str(told.value)
    assert "gcc" not in str(told.value)


@pytest.mark.parametrize("name", NODES)
def test_a_nodes_files_parse_and_name_the_node(name: str) -> None:
    found = configs.files(name, NODES[name])
    kubelet = yaml.safe_load(found["etc/kubernetes/kubelet.yaml"])
    assert kubelet["tlsCertFile"].endswith(f"{name}.crt")
    assert yaml.safe_load(found["etc/kubernetes/kube-proxy.yaml"])["hostnameOverride"] == name
    subnet = json.loads(found["etc/cni/net.d/10-lab.conflist"])["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
    assert subnet == f"10.78.{NODES[name].rpartition('.')[2]}.0/24"
    assert "signature_policy =" not in found["etc/crio/crio.conf"], "CRI-O refuses to restore with one"


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
