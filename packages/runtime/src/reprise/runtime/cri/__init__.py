"""The container runtime's own API (CRI v1): the stubs are generated from k8s.io/cri-api, client.py is ours."""

from reprise.runtime.cri.client import DEADLINE, SOCKETS, ContainerEvent, Cri, CriError, RunningContainer, Status, find_socket

__all__ = ["DEADLINE", "SOCKETS", "ContainerEvent", "Cri", "CriError", "RunningContainer", "Status", "find_socket"]
