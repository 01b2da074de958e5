"""/healthz, /readyz and /metrics. Ready only when every part is; a live process is healthy even when it is not."""

import contextlib
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

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

    def app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)

        @app.get("/healthz")
        async def healthz() -> dict[str, str]:
            return {"status": "ok"}

        @app.get("/readyz")
        async def readyz(response: Response) -> dict[str, object]:
            waiting = self.unready()
            response.status_code = 503 if waiting else 200
            return {"ready": not waiting, "waiting_for": waiting}

        @app.get("/metrics")
        async def metrics() -> Response:
            for name, condition in self._conditions.items():
                READY.labels(name).set(condition())
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        return app


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the service's lifecycle owns SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: FastAPI, host: str, port: int) -> QuietServer:
    return QuietServer(uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off"))
