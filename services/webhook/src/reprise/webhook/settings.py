"""Every knob of webhook; each is an environment variable with the prefix `REPRISE_`."""

from pathlib import Path

from pydantic import Field
from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """The endpoints themselves are in a file: docs/webhooks.md."""

    webhook_file: Path = Path("/etc/reprise/webhooks/endpoints.yaml")
    """The endpoints, out of a mounted Secret; read again when it changes."""
    webhook_ca_file: Path = Path("/etc/reprise/webhooks/ca.crt")
    """Certificates (PEM) that are trusted besides the public ones, if it is there; read at the start."""
    webhook_timeout_s: float = Field(default=10.0, gt=0)
    """For one delivery as a whole, from the look-up of the name to the last byte of the answer."""
    webhook_attempts: int = Field(default=20, ge=1)
    """Then an event is dead-lettered; by the delays of decide.py, 20 are about 14 hours."""
    webhook_body_bytes: int = Field(default=256 << 10, ge=1)
    """A larger event is dead-lettered at once."""
    webhook_reload_s: float = Field(default=5.0, gt=0)
    """How often the file, and what is disabled, is looked at."""
