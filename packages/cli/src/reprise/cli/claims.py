"""Which workload of the cluster a user means."""

from reprise.cli.archives import Ambiguous, workload_name
from reprise.cli.names import suggestion
from reprise.cli.ports import Claimed, ClusterError, Objects, Session
from reprise.contracts.model import Workload

NAMED = {"": "workload", "Pod": "pod without an owner"}
"""A pod that somebody owns is not what is annotated."""


def claimed(session: Session, text: str) -> Claimed:
    """text: `[NAMESPACE/][KIND/]NAME`. Raises ClusterError with near names, Ambiguous."""
    name = workload_name(text)
    space = name.namespace or session.namespace()
    objects = session.objects()
    known = objects.names(space)
    fitting = [kind for kind, each in known if each == name.name and name.kind in ("", kind)]
    if not fitting:
        session.require_namespace(space)
        near = suggestion(name.name, [each for kind, each in known if name.kind in ("", kind)])
        raise ClusterError(
            f"there is no such {NAMED.get(name.kind, name.kind.lower())}", subject=f"{space}/{name.name}",
            remedy=near or f"namespace {space} has none: name another one, NAMESPACE/NAME",
        )  # fmt: skip
    if len(fitting) > 1:
        told = " or ".join(f"{space}/{kind.lower()}/{name.name}" for kind in fitting)
        raise Ambiguous("several have this name", subject=f"{space}/{name.name}", remedy=f"say which: {told}")
    return read(objects, space, fitting[0], name.name)


def read(objects: Objects, namespace: str, kind: str, name: str) -> Claimed:
    return objects.read(Workload.model_validate({"namespace": namespace, "kind": kind, "name": name}))
