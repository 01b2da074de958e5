"""Every version that the lab builds, in one place. Changing one rebuilds what it names and nothing else."""

KUBERNETES = "1.34.4"
KUBERNETES_NEWEST = "1.37.2"
"""Beside it, for an `up` that asks for it; needs Go 1.26."""
CRIO = "1.34.0"
COREDNS = "v1.12.4"
MINIO = "v0.0.0-20250907161309-07c3a429bfed"
JAEGER = "v1.76.0"
SEAWEEDFS = "v0.0.0-20261109003541-7506e5f91cd6"
"""Its release tags are no Go versions. Only the component tests run it."""
PROMETHEUS = "v0.316.0"
"""Of the Go module; the release is called 3.16. Only its promtool is built, for the component tests."""

NODE_SUITE = "sid"
NODE_PACKAGES = (
    "runc", "criu", "conmon", "containernetworking-plugins", "golang-github-containers-common", "iptables", "nftables",
    "containerd", "iproute2", "conntrack", "ethtool", "socat", "procps", "mount", "kmod", "ca-certificates", "etcd-server",
    "etcd-client", "catatonit", "busybox-static", "skopeo", "buildah", "netavark", "curl",
)  # fmt: skip
BASE_SUITE = "trixie"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
POSTGRES_PACKAGES = ("postgresql",)
NODEJS_PACKAGES = ("nodejs",)
HOST_PACKAGES = {
    "mmdebstrap": "mmdebstrap debian-archive-keyring",
    "ip": "iproute2",
    "gcc": "gcc libc6-dev",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "sysctl": "procps",
}  # fmt: skip
"""Commands the host needs and the Debian packages that have each."""
