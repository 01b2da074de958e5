"""The node's CPU pressure: https://docs.kernel.org/accounting/psi.html

/proc/pressure is the machine's, in a container too, and does not depend on the cgroup version. It is missing if the kernel was
built or booted without PSI (psi=0, the default of RHEL 8 and 9).
"""

from pathlib import Path


class CpuPressure:
    def __init__(self, file: Path = Path("/proc/pressure/cpu")) -> None:
        self._file = file

    def read(self) -> float | None:
        """The share of the last 10 s in which a task that could run waited for a CPU, 0 to 1; None: the kernel does not tell."""
        try:
            some = next(line for line in self._file.read_text().splitlines() if line.startswith("some "))
            return float(dict(each.split("=", 1) for each in some.split()[1:])["avg10"]) / 100
        except (OSError, StopIteration, KeyError, ValueError):
            return None
