"""Calls to the API server that each service makes, and calls that a thief of its token would try, with the answer to each.

The table in docs/security.md is made of them (test_policies.py); tests/e2e/test_rights.py tries them with real tokens.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Answer = Literal["yes", "RBAC", "policy"]
"""RBAC: refused, whatever its body. policy: RBAC allows such calls, a ValidatingAdmissionPolicy of ours refuses this one."""
ANSWERS: tuple[Answer, ...] = ("yes", "RBAC", "policy")
Method = Literal["GET", "POST", "PATCH", "DELETE"]
Body = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """path, body: {theirs} is a namespace of somebody's; {here} and {there} are our pods on the token's own node and on another.

    PATCH is a strategic merge patch.
    """

    who: str
    what: str
    answer: Answer
    method: Method
    path: str
    body: Body = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"


OURS = "/api/v1/namespaces/reprise-system"
THEIRS = "/api/v1/namespaces/{theirs}"
POD = f"{THEIRS}/pods/app"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/reprise-system/leases"
DEPLOYMENT = "/apis/apps/v1/namespaces/{theirs}/deployments/app"
BUDGETS = "/apis/policy/v1/namespaces/{theirs}/poddisruptionbudgets"
SERVICES = ("health-watcher", "checkpointer", "transfer", "scheduler", "restorer", "arbiter", "console")


def condition(kind: str, status: str) -> Body:
    return {"status": {"conditions": [{"type": kind, "status": status, "reason": "Tried", "message": "tried by a test"}]}}


def lease(name: str, holder: str) -> Body:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": holder},
    }


def pod() -> Body:
    """Without a service account's token, so that the account need not exist."""
    spec = {"containers": [{"name": "app", "image": "app"}], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}


def budget(name: str) -> Body:
    meta, spec = {"name": name}, {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "app"}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec}


def event() -> Body:
    subject = {"kind": "Pod", "name": "app", "namespace": "{theirs}", "apiVersion": "v1"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "app."},
        "involvedObject": subject,
        "reason": "Tried",
    }


def taint(key: str, effect: str) -> Body:
    return {"spec": {"taints": [{"key": key, "effect": effect}]}}


def owner() -> Body:
    found = {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "00000000-0000-0000-0000-000000000000"}
    return {"metadata": {"ownerReferences": [found]}}


def of_nobody(who: str) -> tuple[Call, ...]:
    """Calls that every service is kept from."""
    account = f"{OURS}/serviceaccounts/reprise-restorer/token"
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    return (
        Call(who, "read a Secret of Reprise's, which has the keys", "RBAC", "GET", f"{OURS}/secrets/reprise-keys"),
        Call(who, "have a token of another service made", "RBAC", "POST", account, token),
        Call(who, "read from a kubelet, past the API server", "RBAC", "GET", "/api/v1/nodes/{node}/proxy/pods"),
        Call(who, "run a command in a pod", "RBAC", "GET", f"{POD}/exec?command=id&stdout=1"),
    )


CALLS: tuple[Call, ...] = (
    *(call for who in SERVICES for call in of_nobody(who)),
    Call("health-watcher", "set the readiness gate of a pod on its node", "yes", "PATCH", f"{OURS}/pods/{{here}}/status",
         condition("reprise.dev/restored", "True")),
    Call("health-watcher", "set the readiness gate of a pod on another node", "policy", "PATCH", f"{OURS}/pods/{{there}}/status",
         condition("reprise.dev/restored", "True")),
    Call("health-watcher", "set another condition of a pod on its node", "policy", "PATCH", f"{OURS}/pods/{{here}}/status",
         condition("ContainersReady", "True")),
    Call("health-watcher", "change an annotation by way of a pod's status", "policy", "PATCH", f"{OURS}/pods/{{here}}/status",
         {"metadata": {"annotations": {"reprise.dev/restore-from": "x"}}}),
    Call("health-watcher", "change a pod", "RBAC", "PATCH", POD, {"metadata": {"annotations": {"a": "b"}}}),
    Call("health-watcher", "renew its node's Lease", "yes", "POST", LEASES, lease("reprise-node-{node}", "boot")),
    Call("health-watcher", "renew another node's Lease", "policy", "POST", LEASES, lease("reprise-node-{other}", "boot")),
    Call("health-watcher", "take another node's Lease away", "policy", "POST", LEASES,
         lease("reprise-node-{other}", "reprise-arbiter")),
    Call("health-watcher", "remove a node's Lease", "RBAC", "DELETE", f"{LEASES}/reprise-node-{{other}}"),
    Call("health-watcher", "list Leases", "RBAC", "GET", f"{LEASES}?limit=1"),
    Call("health-watcher", "list nodes", "RBAC", "GET", "/api/v1/nodes?limit=1"),
    Call("health-watcher", "order that a brake be overridden", "policy", "POST", LEASES, lease("reprise-failover-force", "x")),
    Call("health-watcher", "write a Lease of Kubernetes' own", "RBAC", "POST",
         LEASES.replace("reprise-system", "kube-node-lease"), lease("{other}", "x")),
    Call("health-watcher", "write an Event", "yes", "POST", f"{THEIRS}/events", event()),
    Call("health-watcher", "change a node", "RBAC", "PATCH", "/api/v1/nodes/{node}", {"spec": {"unschedulable": True}}),
    Call("checkpointer", "list pods", "yes", "GET", "/api/v1/pods?limit=1"),
    Call("checkpointer", "change a pod's status", "RBAC", "PATCH", f"{OURS}/pods/{{here}}/status", condition("Ready", "False")),
    Call("checkpointer", "write a Lease", "RBAC", "POST", LEASES, lease("reprise-node-{node}", "boot")),
    Call("checkpointer", "make a pod", "RBAC", "POST", f"{THEIRS}/pods", pod()),
    Call("transfer", "get a pod", "yes", "GET", POD),
    Call("transfer", "list pods", "RBAC", "GET", "/api/v1/pods?limit=1"),
    Call("transfer", "change a pod's status", "RBAC", "PATCH", f"{OURS}/pods/{{here}}/status", condition("Ready", "False")),
    Call("transfer", "make a pod", "RBAC", "POST", f"{THEIRS}/pods", pod()),
    Call("scheduler", "set the condition `reprise.dev/Protected`", "yes", "PATCH", f"{POD}/status",
         condition("reprise.dev/Protected", "True")),
    Call("scheduler", "set another condition", "policy", "PATCH", f"{POD}/status", condition("Ready", "False")),
    Call("scheduler", "set a pod's phase", "policy", "PATCH", f"{POD}/status", {"status": {"phase": "Failed"}}),
    Call("scheduler", "change a pod", "RBAC", "PATCH", POD, {"metadata": {"annotations": {"a": "b"}}}),
    Call("scheduler", "list Jobs", "yes", "GET", "/apis/batch/v1/jobs?limit=1"),
    Call("restorer", "make a pod", "yes", "POST", f"{THEIRS}/pods", pod()),
    Call("restorer", "make a pod next to the keys", "policy", "POST", f"{OURS}/pods", pod()),
    Call("restorer", "make a pod in `kube-system`", "policy", "POST", "/api/v1/namespaces/kube-system/pods", pod()),
    Call("restorer", "annotate a pod", "yes", "PATCH", POD, {"metadata": {"annotations": {"reprise.dev/fenced-by": "x"}}}),
    Call("restorer", "label a pod so that its ReplicaSet adopts it", "yes", "PATCH", POD,
         {"metadata": {"labels": {"pod-template-hash": "x"}}}),
    Call("restorer", "change a pod's image", "policy", "PATCH", POD,
         {"spec": {"containers": [{"name": "app", "image": "another"}]}}),
    Call("restorer", "change the image of an init container", "policy", "PATCH", POD,
         {"spec": {"initContainers": [{"name": "first", "image": "another"}]}}),
    Call("restorer", "change a pod's owner", "policy", "PATCH", POD, owner()),
    Call("restorer", "add a finalizer", "policy", "PATCH", POD, {"metadata": {"finalizers": ["example.com/keep"]}}),
    Call("restorer", "delete a pod", "yes", "DELETE", POD),
    Call("restorer", "delete a pod of Reprise", "policy", "DELETE", f"{OURS}/pods/{{there}}"),
    Call("restorer", "have a pod that it gave up leave its Services", "yes", "PATCH", f"{POD}/status",
         condition("Ready", "False")),
    Call("restorer", "set the readiness gate of a pod", "yes", "PATCH", f"{POD}/status",
         condition("reprise.dev/restored", "True")),
    Call("restorer", "make a pod Ready", "policy", "PATCH", f"{POD}/status", condition("Ready", "True")),
    Call("restorer", "set another condition", "policy", "PATCH", f"{POD}/status", condition("PodScheduled", "False")),
    Call("restorer", "keep new pods off a node", "yes", "PATCH", "/api/v1/nodes/{other}",
         taint("failover.reprise.dev/x", "NoSchedule")),
    Call("restorer", "drive what runs off a node", "policy", "PATCH", "/api/v1/nodes/{other}",
         taint("failover.reprise.dev/x", "NoExecute")),
    Call("restorer", "write another taint", "policy", "PATCH", "/api/v1/nodes/{other}", taint("example.com/x", "NoSchedule")),
    Call("restorer", "cordon a node", "policy", "PATCH", "/api/v1/nodes/{other}", {"spec": {"unschedulable": True}}),
    Call("restorer", "label a node", "policy", "PATCH", "/api/v1/nodes/{other}", {"metadata": {"labels": {"a": "b"}}}),
    Call("restorer", "make a PodDisruptionBudget of its own", "yes", "POST", BUDGETS, budget("reprise-guard-app")),
    Call("restorer", "make another PodDisruptionBudget", "policy", "POST", BUDGETS, budget("app")),
    Call("restorer", "delete another PodDisruptionBudget", "policy", "DELETE", f"{BUDGETS}/theirs"),
    Call("restorer", "change a Deployment", "RBAC", "PATCH", DEPLOYMENT, {"spec": {"replicas": 9}}),
    Call("arbiter", "list nodes", "yes", "GET", "/api/v1/nodes?limit=1"),
    Call("arbiter", "list pods", "yes", "GET", "/api/v1/pods?limit=1"),
    Call("arbiter", "list Leases", "yes", "GET", f"{LEASES}?limit=1"),
    Call("arbiter", "take a node's Lease away", "yes", "POST", LEASES, lease("reprise-node-{other}", "reprise-arbiter")),
    Call("arbiter", "renew a node's Lease", "policy", "POST", LEASES, lease("reprise-node-{other}", "boot")),
    Call("arbiter", "order that a brake be overridden", "policy", "POST", LEASES,
         lease("reprise-failover-force", "reprise-arbiter")),
    Call("arbiter", "write a Lease of Kubernetes' own", "RBAC", "POST",
         LEASES.replace("reprise-system", "kube-node-lease"), lease("{other}", "reprise-arbiter")),
    Call("arbiter", "change a pod's status", "RBAC", "PATCH", f"{OURS}/pods/{{here}}/status", condition("Ready", "False")),
    Call("arbiter", "annotate a pod", "RBAC", "PATCH", POD, {"metadata": {"annotations": {"reprise.dev/fenced-by": "x"}}}),
    Call("arbiter", "make a pod", "RBAC", "POST", f"{THEIRS}/pods", pod()),
    Call("arbiter", "delete a pod", "RBAC", "DELETE", POD),
    Call("arbiter", "change a node", "RBAC", "PATCH", "/api/v1/nodes/{other}", {"spec": {"unschedulable": True}}),
    Call("console", "ask for a checkpoint", "yes", "PATCH", DEPLOYMENT,
         {"metadata": {"annotations": {"reprise.dev/checkpoint-now": "x"}}}),
    Call("console", "cordon a node", "yes", "PATCH", "/api/v1/nodes/{other}", {"spec": {"unschedulable": True}}),
    Call("console", "scale a Deployment", "policy", "PATCH", DEPLOYMENT, {"spec": {"replicas": 9}}),
    Call("console", "change a pod's image", "policy", "PATCH", POD,
         {"spec": {"containers": [{"name": "app", "image": "another"}]}}),
    Call("console", "taint a node", "policy", "PATCH", "/api/v1/nodes/{other}", taint("example.com/x", "NoExecute")),
    Call("console", "delete a pod", "RBAC", "DELETE", POD),
)  # fmt: skip


def table() -> list[str]:
    """The rows of the table in docs/security.md."""
    shared = {call.what for call in of_nobody("")}
    rows = [("each of them", [call for call in CALLS if call.who == SERVICES[0] and call.what in shared])]
    rows += [(f"`reprise-{who}`", [call for call in CALLS if call.who == who and call.what not in shared]) for who in SERVICES]
    return [f"| {name} | {' | '.join(_cell(calls, answer) for answer in ANSWERS)} |" for name, calls in rows]


def _cell(calls: list[Call], answer: Answer) -> str:
    return "; ".join(call.what for call in calls if call.answer == answer) or "-"
