"""What being protected costs a process that computes: between its checkpoints, and with one each second."""

import json
import statistics
import time

from reprise_lab import counter, listing
from reprise_lab.shell import LabError, kubectl, poll
from reprise_lab.witness import ask
from rich.progress import Progress
from rows import Row

NAMESPACE = "bench-overhead"
PAIRS = 12
WINDOW_S = 5.0
SPINNER = """
import json, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer
done = 0
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"done": done, "at": time.monotonic(), "cpu": time.process_time()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
threading.Thread(target=HTTPServer(("", 8080), Handler).serve_forever, daemon=True).start()
while True:
    for _ in range(1000): pass
    done += 1
"""


def rates() -> tuple[float, float]:
    """Rounds a second, and rounds a second of processor time, by the process's own count."""
    address = listing.pods(NAMESPACE, "app=counter")[0]["status"]["podIP"]
    before = _state(address)
    time.sleep(WINDOW_S)
    after = _state(address)
    done = after["done"] - before["done"]
    return done / (after["at"] - before["at"]), done / (after["cpu"] - before["cpu"])


def _state(address: str) -> dict[str, float]:
    for _ in range(10):
        if said := ask(address, timeout_s=2):
            return {name: float(str(value)) for name, value in said.items()}
    raise LabError("the spinner does not answer")


def mode(value: str) -> None:
    kubectl("-n", NAMESPACE, "annotate", "deployment", "counter", f"reprise.dev/mode={value}", "--overwrite")
    time.sleep(2)


def overhead(progress: Progress) -> list[Row]:
    """The same process, protected and not, in turn, between its checkpoints."""
    return [_compared(progress, "overhead.throughput_pct", "1h", "<= 1")]


def each_second(progress: Progress) -> list[Row]:
    """The same with a checkpoint each second."""
    return [_compared(progress, "interval_1s.throughput_pct", "1s", "<= 10")]


def _compared(progress: Progress, name: str, interval: str, goal: str) -> Row:
    task = progress.add_task(f"throughput with a checkpoint each {interval}", total=PAIRS)
    asked = {"reprise.dev/interval": interval, "reprise.dev/mode": "off"}
    on: list[tuple[float, float]] = []
    off: list[tuple[float, float]] = []
    try:
        counter.deploy(NAMESPACE, annotations=asked)
        container = {"name": "counter", "command": ["python3", "-u", "-c", SPINNER]}
        patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
        kubectl("-n", NAMESPACE, "patch", "deployment", "counter", "-p", json.dumps(patch))
        kubectl("-n", NAMESPACE, "rollout", "status", "deployment/counter", "--timeout=60s")
        poll(60, lambda: len(counter.pods(NAMESPACE)) == 1, "one spinner", 0.2)
        mode("criu")
        counter.wait_checkpoint(NAMESPACE, seconds=60)
        for _ in range(PAIRS):
            mode("criu")
            on.append(rates())
            mode("off")
            off.append(rates())
            progress.advance(task)
    finally:
        counter.remove(NAMESPACE)
    lost = [100 * (1 - with_it[0] / without[0]) for with_it, without in zip(on, off, strict=True)]
    worked = [100 * (1 - with_it[1] / without[1]) for with_it, without in zip(on, off, strict=True)]
    quarter, _, three = statistics.quantiles(lost, n=4)
    told = f"half of the pairs {quarter:.1f} to {three:.1f} %; by processor time {statistics.median(worked):.2f} %"
    how = f"rounds of a loop in {WINDOW_S:g} s, interval {interval}, protected and not in turn, median of {PAIRS} pairs"
    return Row(name, statistics.median(lost), "%", goal, told, how)
