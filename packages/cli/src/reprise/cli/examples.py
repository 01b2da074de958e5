"""The examples below each command's help. A test holds each to the options that there are."""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("reprise protect shop/cart --interval 10s", "begin"),
        ("reprise status -A", "what would happen if something failed now"),
        ("reprise console", "the same in a browser"),
    ),
    "preflight": (
        ("reprise preflight", "what each node lacks, before you install"),
        ("reprise preflight n1 -o json", ""),
    ),
    "status": (
        ("reprise status", "of your namespace"),
        ("reprise status -A -o wide", "of all, with checkpoint and node"),
        ("reprise status -l app=cart -w", "go on showing"),
        ('reprise status -A -o jsonpath=\'{range [*]}{.workload}{"\\t"}{.health}{"\\n"}{end}\'', ""),
    ),
    "protect": (
        ("reprise protect shop/cart --interval 10s", ""),
        ("reprise protect sts/db --keep 5 --dry-run", "only say what would happen"),
        ("reprise protect cart --fix", "offer to set what avoids the failures of its checkpoints"),
        ("reprise protect cart --mode http --state-path /state --state-port 8080", "a program that hands out its state"),
    ),
    "unprotect": (("reprise unprotect shop/cart", ""),),
    "checkpoint take": (
        ("reprise checkpoint take shop/cart", ""),
        ("reprise checkpoint take cart --timeout 5m", ""),
    ),
    "checkpoint list": (
        ("reprise checkpoint list", "of your namespace"),
        ("reprise checkpoint list shop/cart -o wide", "of one workload"),
        ("reprise checkpoint list -A -l app=cart -o name", ""),
    ),
    "checkpoint export": (
        ("reprise checkpoint export shop/cart --to cart.tar", "the newest"),
        ("reprise checkpoint export shop/cart@20261126t0113 --to cart.oci --format oci", ""),
    ),
    "checkpoint delete": (("reprise checkpoint delete shop/cart@20261126t0113", ""),),
    "restore": (
        ("reprise restore shop/cart --to 20261126t0113", "what it is now is kept first"),
        ("reprise restore shop/cart --to 20261126t0113 --discard --timeout 5m", ""),
    ),
    "move": (
        ("reprise move shop/cart", "wherever the planner chooses"),
        ("reprise move shop/sts/db --to n2 --timeout 5m", ""),
    ),
    "plan": (
        ("reprise plan n1", "what would happen if n1 were lost or drained"),
        ("reprise plan n1 -n shop -o wide", ""),
    ),
    "drain": (
        ("reprise drain n1", "then `kubectl drain n1` ends the others"),
        ("reprise drain n1 --timeout 20m", ""),
    ),
    "uncordon": (("reprise uncordon n1", ""),),
    "failover": (("reprise failover --force", "what the brake holds back"),),
    "history": (
        ("reprise history shop/cart", ""),
        ("reprise history cart --since 2h --limit 50", ""),
    ),
    "trace": (
        ("reprise trace shop/cart", "its newest failover"),
        ("reprise trace fo-01jd", ""),
    ),
    "events tail": (
        ("reprise events tail", "of all namespaces"),
        ("reprise events tail -n shop --type failover.completed -o json", ""),
    ),
    "events replay": (
        ("reprise events replay --since 2h", ""),
        ("reprise events replay --type node.lost --since 1d", ""),
        ("reprise events replay -n shop -l app=cart -o json", ""),
    ),
    "events schema": (
        ("reprise events schema", "all types"),
        ("reprise events schema failover.completed", ""),
    ),
    "inspect": (
        ("reprise inspect shop/cart", "its newest checkpoint"),
        ("reprise inspect ./checkpoint.tar --only processes --only sockets", "an archive on this machine"),
    ),
    "diff": (("reprise diff shop/cart@20261126t0113 shop/cart", "what came since"),),
    "doctor": (
        ("reprise doctor", "every node"),
        ("reprise doctor shop/cart --deep", "one workload, and its newest checkpoint"),
        ("reprise doctor --log dump.log", "explain a log of CRIU's"),
    ),
    "store check": (
        ("reprise store check", ""),
        ("reprise store check -n shop --read-data --repair", ""),
    ),
    "store stats": (("reprise store stats -o wide", ""),),
    "store gc": (("reprise store gc --dry-run", ""),),
    "keys rotate": (
        ("reprise keys rotate --dry-run", "what would be done"),
        ("reprise keys rotate", ""),
    ),
    "console": (
        ("reprise console", "port-forwards, prints the address and opens it"),
        ("reprise console --no-browser --port 8080", ""),
    ),
    "credentials": (("reprise credentials ~/reprise --node n1 --node n2", ""),),
    "support-bundle": (
        ("reprise support-bundle", "reprise-support-<time>.tar.gz, here"),
        ("reprise support-bundle --to bundle.tar.gz --since 2h", ""),
    ),
}
