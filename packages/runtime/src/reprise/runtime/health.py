"""/healthz, /readyz and /metrics. Ready only when every part is; a live process is healthy even when it is not."""

import contextlib
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

READY = Gauge("reprise_ready", "Whether this condition of readiness holds", ["condition"])


class Health:
    """Named conditions; all must hold for readiness."""

    def __init__(self) -> None:
        self._conditions: dict[str, Callable[[], bool]] = {}

    def ready_when(self, name: str, condition: Callable[[], bool]) -> None:
        self._conditions[name] = condition

    def unready(self) -> list[str]:
        """Names of the conditions that do not hold."""
        return [name for name, condition in self._conditions.items() if not condition()]

    def app(self) -> Starlette:
        """Not FastAPI's, whose import takes 0.8 s of a slow core, Starlette's 0.25: agents start as their node does."""
        return Starlette(
            routes=[Route("/healthz", self._healthz), Route("/readyz", self._readyz), Route("/metrics", self._metrics)]
        )

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        waiting = self.unready()
        return JSONResponse({"ready": not waiting, "waiting_for": waiting}, 503 if waiting else 200)

    async def _metrics(self, _: Request) -> Response:
        for name, condition in self._conditions.items():
            READY.labels(name).set(condition())
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the service's lifecycle owns SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: Starlette, host: str, port: int) -> QuietServer:
    return QuietServer(uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off"))
