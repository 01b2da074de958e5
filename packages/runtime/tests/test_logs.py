"""Each line of a service's log is JSON and leads to its trace, whoever wrote it; what nobody must act on is not there."""

import json
import subprocess
import sys

PROGRAM = """
import logging
from reprise.runtime import telemetry
telemetry.configure("restorer", node="n1")
with telemetry.span("work"):
    telemetry.log().warning("failover planned", path="shadow")
    logging.getLogger("library").warning("odd: %s", "that")
    telemetry.log().debug("of no interest")
    logging.getLogger("library").info("of no interest")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("library").exception("it broke")
"""


def test_every_line_is_json_with_its_trace_and_quiet_by_default() -> None:
    """In a process of its own: logging is set up once for all."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    ours, theirs, broken = (json.loads(line) for line in done.stdout.splitlines())
    assert (ours["event"], ours["path"]) == ("failover planned", "shadow")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("odd: that", "library", "warning")
    assert "ValueError: broken" in broken["exception"]
    for line in (ours, theirs, broken):
        assert (line["service"], line["node"]) == ("restorer", "n1")
        assert len(line["trace_id"]) == 32
        assert line["ts"].endswith("Z")
    assert len({line["trace_id"] for line in (ours, theirs, broken)}) == 1
