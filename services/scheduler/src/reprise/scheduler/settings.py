"""Every knob of scheduler; each is an environment variable with the prefix `REPRISE_`."""

from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """The shared ones, and how long a fresh container is left alone."""

    settle_s: float = 3.0
    """A container's first checkpoint is due this long after it started, if it is ready."""
