"""Every knob of console; each is an environment variable with the prefix `REPRISE_`."""

from pydantic import Field
from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """Where PostgreSQL is. The password comes from a Secret."""

    postgres_host: str = "postgres"
    postgres_port: int = 5432
    postgres_database: str = "reprise"
    postgres_user: str = "reprise"
    postgres_password: str = ""
    retain_days: int = Field(default=30, ge=1)
    """How long events, failovers and what can no longer be restored are kept; the stream itself keeps seven days."""
    jaeger_url: str = ""
    """Where a reader's browser reaches Jaeger, e.g. http://localhost:16686; empty: pages tell only the trace's id."""

    @property
    def conninfo(self) -> str:
        from psycopg.conninfo import make_conninfo

        return make_conninfo(
            host=self.postgres_host,
            port=self.postgres_port,
            dbname=self.postgres_database,
            user=self.postgres_user,
            password=self.postgres_password,
            connect_timeout=3,
        )
