"""Every knob of console; each is an environment variable with the prefix `REPRISE_`."""

from pathlib import Path
from typing import Literal

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
    trace_url: str = Field(default="", pattern=r"^$|^https?://.*\{trace_id\}")
    """Where a reader's browser finds a trace, e.g. http://localhost:16686/trace/{trace_id}; empty: pages tell only its id."""

    restorer_url: str = ""
    """Where the restorer tells its plans, e.g. http://restorer:8080; empty: what would happen is estimated from the events."""
    kek_dir: Path | None = None
    """Key-encryption keys, as transfer has them: then its pages tell what stored checkpoints hold. None: they do not."""
    cluster: bool = True
    """Whether it is in a Kubernetes cluster: else nothing can be asked of one, and no token be reviewed by one."""
    anonymous: Literal["read", "none"] = "none"
    """What needs no token. `read`: the ledger: names, sizes, failures and the ends of logs, but nothing of any memory."""
    token_review: bool = True
    """Kubernetes vouches for tokens, and its RBAC says what each may do (deploy/README.md)."""
    token_audience: str = "reprise-console"
    """Whom a token must be meant for, so that one for here is none for the API server; empty: the API server itself."""
    oidc_issuer: str = ""
    """Of OpenID Connect, e.g. https://id.example.com/realms/main; empty: none."""
    oidc_audience: str = "reprise-console"
    oidc_ca: Path | None = None
    """Certificates that the issuer's is checked with; None: the usual ones."""
    oidc_user_claim: str = "sub"
    oidc_groups_claim: str = "groups"
    oidc_read_groups: str = ""
    """Groups of the issuer with the role read, with commas between them; `*`: everybody with a token of it."""
    oidc_operate_groups: str = ""

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
