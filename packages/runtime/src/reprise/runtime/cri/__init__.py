"""The container runtime's own API (CRI v1): the stubs are generated from k8s.io/cri-api, client.py is ours."""

from reprise.runtime.cri.client import ContainerEvent, Cri, CriError, RunningContainer

__all__ = ["ContainerEvent", "Cri", "CriError", "RunningContainer"]
