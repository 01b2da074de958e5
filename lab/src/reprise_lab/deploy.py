"""`python -m reprise_lab.deploy`: Reprise on the lab, every service on its newest image."""

import sys
import time

from reprise_lab import counter, images
from reprise_lab.paths import RUN
from reprise_lab.shell import LabError, kubectl

DEPLOYED = RUN / "deployed-images"


def main() -> None:
    """A tag's new image reaches a pod only when it starts anew."""
    began = time.monotonic()
    current = "".join(f"{s} {images.stamp(f'reprise-{s}').read_text()}\n" for s in images.SERVICES)
    fresh = not kubectl("-n", "reprise-system", "get", "daemonset", "transfer", "-o", "name", check=False)
    if fresh or (DEPLOYED.exists() and DEPLOYED.read_text() == current):
        counter.deploy_reprise()
    else:
        counter.restart_reprise()
    DEPLOYED.write_text(current)
    print(f"lab: Reprise is deployed and ready ({time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
