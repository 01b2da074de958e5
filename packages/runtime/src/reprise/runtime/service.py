"""One lifecycle for every service: start, ready only when its parts are, drain on SIGTERM.

    service = Service("scheduler", settings)
    service.bus.subscribe(...)
    service.part("timers", timers.run)
    service.run()

A part is a coroutine function that runs until cancelled. One that fails is logged and started again with growing
delay: a fault in a part, or of anything the service needs, never ends the process.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

from prometheus_client import Counter
from reprise.runtime import telemetry
from reprise.runtime.bus import Bus
from reprise.runtime.health import Health, server
from reprise.runtime.settings import RuntimeSettings
from reprise.runtime.streams import Storage

RESTART_MAX_S = 10.0
RESTARTS = Counter("reprise_part_restarts_total", "Parts of the service that ended or failed and were started again", ["part"])


class Service:
    """Owns the process: telemetry, the bus, health, and the parts."""

    def __init__(self, name: str, settings: RuntimeSettings) -> None:
        self.name = name
        self.settings = settings
        self._provider = telemetry.configure(
            name,
            node=settings.node_name,
            pod=settings.pod_name,
            namespace=settings.namespace,
            otlp_endpoint=settings.otlp_endpoint,
            level=settings.log_level,
            checkpoint_ratio=settings.trace_checkpoints,
        )
        self.log = telemetry.log()
        storage = Storage(settings.nats_replicas, settings.events_max_bytes)
        self.bus = Bus(settings.nats_url, f"reprise/{name}/{settings.pod_name}", storage)
        self.health = Health()
        self.health.ready_when("nats", lambda: self.bus.connected)
        self.app = self.health.app()
        self._parts: dict[str, Callable[[], Awaitable[None]]] = {}
        self._on_stop: list[Callable[[], Awaitable[None]]] = []

    def part(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Register a long-running part; it need not wait for the bus to be connected."""
        self._parts[name] = run
        RESTARTS.labels(name)

    def on_stop(self, act: Callable[[], Awaitable[None]]) -> None:
        """Register what is done on SIGTERM, before handlers are drained; at most drain_s each."""
        self._on_stop.append(act)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        asyncio.run(self.run_async())

    async def run_async(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop.set)
        web = server(self.app, self.settings.health_host, self.settings.health_port)
        web_task = asyncio.create_task(web.serve())
        tasks = [asyncio.create_task(self._keep(name, run)) for name, run in self._parts.items()]
        tasks.append(asyncio.create_task(self._keep("bus", self._serve_bus)))
        tasks.append(asyncio.create_task(self._keep("readiness", self._tell_readiness)))
        self.log.info("started")
        await stop.wait()
        self.log.info("draining")
        for act in self._on_stop:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(act(), self.settings.drain_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.bus.drain(self.settings.drain_s)
        web.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(web_task, 3)
        await asyncio.to_thread(self._provider.shutdown)
        self.log.info("stopped")

    async def _tell_readiness(self) -> None:
        """A line whenever what the service waits for has changed for two seconds: /readyz alone leaves no trace."""
        told, seen = [""], [""]
        while True:
            waiting = self.health.unready()
            if waiting == seen != told:
                self.log.info("not ready" if waiting else "ready", waiting_for=waiting)
                told = waiting
            seen = waiting
            await asyncio.sleep(2)

    async def _serve_bus(self) -> None:
        await self.bus.connect()
        await self.bus.run()

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        delay_s = 0.1
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await run()
                self.log.warning("part ended, starting it again", part=name)
            except asyncio.CancelledError:
                raise
            except Exception:
                self.log.exception("part failed, starting it again", part=name)
            RESTARTS.labels(name).inc()
            if asyncio.get_running_loop().time() - started > RESTART_MAX_S:
                delay_s = 0.1
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_MAX_S)
