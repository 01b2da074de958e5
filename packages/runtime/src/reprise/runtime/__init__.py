"""What every service shares: lifecycle, bus, KV, election, Kubernetes, CRI, telemetry, health."""
