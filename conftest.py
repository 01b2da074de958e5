"""What every test in the tree has in common."""

from hypothesis import HealthCheck, settings

# How long an example takes is not what a property test is about, and machines may be busy with other things.
settings.register_profile("reprise", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reprise")
