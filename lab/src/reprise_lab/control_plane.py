"""etcd, API server, controller manager and scheduler, in a network namespace of their own."""

import signal

from reprise_lab import kind
from reprise_lab.kind import Kubernetes
from reprise_lab.paths import API_IP, NETNS, PKI, ROOTFS, RUN, SERVICE_CIDR
from reprise_lab.shell import daemon, kubectl, poll, stop

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

CONTROLLERS = {
    Kubernetes.V1_34: "*,-service-lb-controller,-cloud-node-lifecycle-controller,-node-route-controller",
    Kubernetes.V1_37: "*",
}
"""Those of a cloud have left the newer controller manager, which does not start if one is named."""


def command(name: str) -> list[object]:
    lib = ROOTFS / "usr/lib/x86_64-linux-gnu"
    programs = kind.current().programs
    return {
        # Debian's etcd wants sid's libc: run by its own loader; a chroot would write to the nodes' lower layer.
        "etcd": [
            ROOTFS / "lib64/ld-linux-x86-64.so.2", "--library-path", lib, ROOTFS / "usr/bin/etcd",
            "--data-dir", RUN / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
            "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
            "--listen-peer-urls", "http://127.0.0.1:2380",
        ],
        "kube-apiserver": [
            programs / "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--advertise-address={API_IP}",
            "--bind-address=0.0.0.0", "--secure-port=6443", f"--service-cluster-ip-range={SERVICE_CIDR}",
            f"--tls-cert-file={PKI}/apiserver.crt", f"--tls-private-key-file={PKI}/apiserver.key",
            f"--client-ca-file={PKI}/ca.crt", f"--kubelet-certificate-authority={PKI}/ca.crt",
            f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP", f"--service-account-key-file={PKI}/sa.pub",
            f"--service-account-signing-key-file={PKI}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
            "--v=1",
        ],
        # 150 ms for each controller's own client before the default service account exists, but for the QPS.
        "kube-controller-manager": [
            programs / "kube-controller-manager", f"--kubeconfig={PKI}/kube-controller-manager.kubeconfig",
            "--use-service-account-credentials", "--kube-api-qps=500", "--kube-api-burst=1000",
            f"--service-account-private-key-file={PKI}/sa.key", f"--root-ca-file={PKI}/ca.crt",
            f"--cluster-signing-cert-file={PKI}/ca.crt", f"--cluster-signing-key-file={PKI}/ca.key",
            "--leader-elect=false",
            f"--controllers={CONTROLLERS[kind.current().kubernetes]}", "--v=1",
        ],
        "kube-scheduler": [
            programs / "kube-scheduler", f"--kubeconfig={PKI}/kube-scheduler.kubeconfig", "--leader-elect=false", "--v=1",
        ],
    }[name]  # fmt: skip


def start(name: str) -> None:
    daemon(name, "nsenter", f"--net=/run/netns/{NETNS}-cp", *command(name))


def up() -> None:
    """Start all; returns once pods can be made. The controller manager exits if its RBAC rules are not there yet."""
    start("etcd")
    start("kube-apiserver")
    poll(60, lambda: kubectl("get", "--raw", "/readyz", check=False) == "ok", f"API server; see {RUN}/kube-apiserver.log")
    start("kube-controller-manager")
    start("kube-scheduler")
    ready = lambda: bool(kubectl("get", "serviceaccount", "default", "-o", "name", check=False))  # noqa: E731
    poll(30, ready, f"default service account; see {RUN}/kube-controller-manager.log")


def down() -> None:
    """Killed, not asked: a graceful API server waits 10 s for its watchers, etcd 8 s for its clients."""
    for name in reversed(COMPONENTS):
        stop(name, signal.SIGKILL)
