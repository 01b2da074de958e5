"""The container runtime's socket: whichever the node has."""

from pathlib import Path

from reprise.runtime.cri import find_socket


def test_the_runtime_is_whichever_the_node_has(tmp_path: Path) -> None:
    crio, containerd = sockets = [str(tmp_path / name) for name in ("crio.sock", "containerd.sock")]
    assert find_socket("", sockets) == crio, "neither is there yet"
    Path(containerd).touch()
    assert find_socket("", sockets) == containerd
    Path(crio).touch()
    assert find_socket("", sockets) == crio
    assert find_socket("/x", sockets) == "/x", "what was chosen counts, whatever is there"
