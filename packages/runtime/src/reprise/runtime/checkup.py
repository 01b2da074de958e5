"""Whether a container is healthy, asked of the agent of its node: the one who can run every kind of probe (docs/adr/0018).

Asked before and after a checkpoint, and of what was restored. A question and an answer, not events: both are worth nothing a
moment later.
"""

from typing import Any

from nats.errors import Error as NatsError
from reprise.contracts import subjects
from reprise.contracts.records import Checkup, Question
from reprise.runtime.bus import Bus

BESIDE_PROBE_S = 3.0
"""How long an answer may take besides the probe."""
NO_ANSWER = "its node's agent does not answer"


def subject(node: str) -> str:
    """Not below subjects.ROOT, or the stream would keep it."""
    return f"reprise-ask.v1.health.{subjects.token(node)}"


async def ask(bus: Bus, node: str, question: Question, *probes: Any) -> Checkup:
    """probes: those that may be run, for their time-outs. Raises nothing."""
    timeout_s = max((float(probe.timeout_seconds or 1) for probe in probes if probe), default=1.0) + BESIDE_PROBE_S
    try:
        answer = await bus.ask(subject(node), question.model_dump_json().encode(), timeout_s)
        return Checkup.model_validate_json(answer)
    except (NatsError, OSError, TimeoutError, ValueError) as error:
        return Checkup(healthy=False, detail=f"{NO_ANSWER}: {type(error).__name__}", told=False)
