"""Before anything is fenced, let alone frozen: would the API server take the pod that is to go on elsewhere?"""

from reprise.restorer.model import Saga, Stop
from reprise.restorer.room import Room

REMEDY = "allow what is refused (a quota, a policy, a webhook), and ask again"


async def refusal(room: Room, saga: Saga) -> Stop | None:
    """None if it would, or if there is nothing to make one of any more: who looks next sees that. saga: with its plan."""
    plan, target, namespace = saga.plan, saga.target, saga.workload.namespace
    if plan.route == "shadow":
        why = await room.cluster.refuses_shadow(saga.workload, saga.name, plan.owner, plan.standby, target)
    else:
        body = await room.cluster.body(namespace, target.pod, target.pod_uid, {})
        why = await room.cluster.unacceptable(namespace, body, plan.standby) if body else ""
    message = f"the API server would not take the pod that is to go on on {plan.standby}: {why}"
    return Stop("NotAdmitted", message, REMEDY, later=True) if why else None
