"""Every knob of restorer; each is an environment variable with the prefix `REPRISE_`."""

from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """How long a step may take. Where the store is: reprise.archive.settings."""

    verify_timeout_s: float = 90.0
    """How long a restored instance may take to come back, and then to answer its probe."""
    adopt_timeout_s: float = 30.0
    stage_timeout_s: float = 20.0
    """How long a failover waits for its standby to stage the checkpoint; what its size takes to fetch is added."""
