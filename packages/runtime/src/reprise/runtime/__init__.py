"""What every service shares: lifecycle, bus, KV, election, Kubernetes, CRI, telemetry, health."""

import reprise.runtime.python311  # noqa: F401
