"""The nodes' configuration files: path below the root, and text."""

import json

from reprise_lab.kind import Cgroup, Kind, Kubernetes, Runtime
from reprise_lab.paths import CHECKOUT, DNS_IP, POD_NET, pod_cidr

DROP_INS = CHECKOUT / "deploy/node"
"""What a user's nodes get; the lab's get the same files."""

CRIO = """[crio]
storage_driver = "overlay"
[crio.runtime]
default_runtime = "runc"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
drop_infra_ctr = false
enable_criu_support = true
enable_pod_events = true
pinns_path = "/lab/bin/pinns"
log_level = "info"
[crio.image]
pause_image = "localhost/pause:lab"
pause_command = ""
# No signature_policy here: with one, CRI-O refuses to restore.
[crio.network]
plugin_dirs = ["/usr/lib/cni"]
"""

CONTAINERD = """version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
oom_score = 0
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "localhost/pause:lab"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "/etc/cni/net.d"
"""

STORAGE = """[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
[storage.options]
additionalimagestores = ["/lab/store"]
"""


# No cpu, memory and pids controllers in the host's cgroup v2, which v1 holds: the kubelet must not ask for them.
CGROUP_FIELDS = {
    Cgroup.V1: "failCgroupV1: false\n",
    Cgroup.V2: "cgroupsPerQOS: false\nenforceNodeAllocatable: []\n",
}
# Without cgroups for pods a kubelet panics when it starts to resize one in place: doPodResizeAction in
# pkg/kubelet/kuberuntime/kuberuntime_manager.go reads through a nil. 1.34.4 does so without being asked: HandlePodRemoves drops
# the record of a pod's resources as soon as the pod is deleted, and a sync that still runs then sees a difference. 1.37.2 keeps
# the record until the pod's worker has ended, and its gate is locked: a kubelet that is told false does not start.
NO_RESIZE = "featureGates: {InPlacePodVerticalScaling: false}\n"


def cgroup_fields(kind: Kind) -> str:
    panics = kind.cgroup is Cgroup.V2 and kind.kubernetes is Kubernetes.V1_34
    return CGROUP_FIELDS[kind.cgroup] + (NO_RESIZE if panics else "")


def kubelet(name: str, kind: Kind) -> str:
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{kind.socket}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: /lab/pki/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: /lab/pki/{name}.crt
tlsPrivateKeyFile: /lab/pki/{name}.key
cgroupDriver: cgroupfs
{cgroup_fields(kind)}localStorageCapacityIsolation: {str(kind.runtime is Runtime.CONTAINERD).lower()}
oomScoreAdj: 0          # no CAP_SYS_RESOURCE: it cannot go below its parent's
maxOpenFiles: 20000
failSwapOn: false
serializeImagePulls: false
resolvConf: /etc/resolv.conf
clusterDNS: [{DNS_IP}]
clusterDomain: cluster.local
evictionHard: {{memory.available: 100Mi}}
imageMinimumGCAge: 24h
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
"""


def kube_proxy(name: str) -> str:
    return f"""apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {POD_NET}.0.0/16
clientConnection: {{kubeconfig: /lab/pki/kube-proxy.kubeconfig}}
hostnameOverride: {name}
conntrack: {{maxPerCore: 0, min: 0}}
oomScoreAdj: 0
"""


def cni(ip: str) -> str:
    ipam = {
        "type": "host-local", "ranges": [[{"subnet": pod_cidr(ip)}]], "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni",
    }  # fmt: skip
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipMasq": False, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "lab", "plugins": [bridge, portmap]})


def engine() -> str:
    """runc-lab stays behind the engine: it takes out of a bundle what this machine cannot do."""
    return json.dumps(json.loads((DROP_INS / "engine.json").read_text()) | {"runc": "/lab/bin/runc-lab"}) + "\n"


def runtime(kind: Kind) -> dict[str, str]:
    if kind.runtime is Runtime.CRIO:
        return {
            "etc/crio/crio.conf": CRIO,
            "etc/crio/crio.conf.d/50-reprise.conf": (DROP_INS / "crio/50-reprise.conf").read_text(),
        }
    return {
        "etc/containerd/config.toml": CONTAINERD,
        "etc/containerd/conf.d/50-reprise.toml": (DROP_INS / "containerd/50-reprise.toml").read_text(),
    }


def files(name: str, ip: str, kind: Kind) -> dict[str, str]:
    """Every file of a node that differs from the shared root."""
    return {
        "etc/hostname": name + "\n",
        "etc/hosts": f"127.0.0.1 localhost\n{ip} {name}\n",
        "etc/resolv.conf": "",
        "etc/containers/policy.json": '{"default":[{"type":"insecureAcceptAnything"}]}\n',
        "etc/containers/storage.conf": STORAGE,
        "etc/cni/net.d/10-lab.conflist": cni(ip),
        "etc/kubernetes/kubelet.yaml": kubelet(name, kind),
        "etc/kubernetes/kube-proxy.yaml": kube_proxy(name),
        "etc/reprise/engine.json": engine(),
        **runtime(kind),
    }
