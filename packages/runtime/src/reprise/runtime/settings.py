"""Knobs that every service has. Each is an environment variable with the prefix `REPRISE_`."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RuntimeSettings(BaseSettings):
    """Read once, in main.py."""

    model_config = SettingsConfigDict(env_prefix="REPRISE_", frozen=True)

    nats_url: str = "tls://nats:4222"
    """Credentials are in /etc/reprise/nats; `nats://` is for 127.0.0.1 only (docs/security.md)."""
    nats_replicas: int = Field(default=1, ge=1, le=5)
    """Of each stream and bucket: 3 on three servers or more. All services have the same."""
    events_max_bytes: int = Field(default=4 << 30, ge=64 << 20)
    """The events stream drops its oldest beyond that, and dead letters beyond a sixteenth of it: leases never meet a full disk.
    A workload with an interval of 10 s makes some 70 MB of events a day.
    """
    node_name: str = ""
    """The node this process runs on (downward API); empty for a service that belongs to no node."""
    pod_name: str = "local"
    namespace: str = "reprise-system"
    health_host: str = "0.0.0.0"
    health_port: int = 8080
    otlp_endpoint: str = ""
    """Base URL of an OTLP/HTTP collector, e.g. http://jaeger:4318; empty exports no spans."""
    trace_checkpoints: float = Field(default=1.0, ge=0, le=1)
    """Of the checkpoints that come by interval, the share whose trace is kept; failovers and all else always are."""
    log_level: str = "info"
    drain_s: float = Field(default=20.0, ge=0)
    """How long handlers may go on after SIGTERM."""
