"""A hardware watchdog: it resets the machine unless it is petted in time. Optional, for the double fault (docs/adr/0009).

Source: kernel Documentation/watchdog/watchdog-api.rst: opening arms it, each write pets it, "V" before closing disarms it
(unless the driver has nowayout).
"""

import asyncio
import fcntl
import os
import struct
from collections.abc import Callable

from prometheus_client import Gauge
from reprise.runtime.telemetry import log

WDIOC_SETTIMEOUT = 0xC0045706
PET_EVERY_S = 0.5

PETTED = Gauge("reprise_watchdog_petted", "1 while the hardware watchdog is armed and petted")


class Watchdog:
    """device: e.g. /dev/watchdog; empty: there is none."""

    def __init__(self, device: str, timeout_s: int) -> None:
        self._device, self._timeout_s = device, timeout_s
        self._file = -1
        self.armed_s = 0.0
        """Its timeout, as the driver says; 0 while it is not armed."""

    def arm(self) -> None:
        """Where it cannot be armed the node goes on without, and says so."""
        if not self._device:
            return
        try:
            self._file = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
            answer = fcntl.ioctl(self._file, WDIOC_SETTIMEOUT, struct.pack("i", self._timeout_s))
            self.armed_s = float(struct.unpack("i", answer)[0])
            log().info("hardware watchdog armed", device=self._device, timeout_s=self.armed_s)
        except OSError as error:
            log().error("the hardware watchdog cannot be armed", device=self._device, error=str(error))
            self.disarm()

    async def run(self, safe: Callable[[], bool]) -> None:
        """In the event loop that freezes: while that stands still, nobody pets. safe: whether nothing runs that must not."""
        while True:
            if self.armed_s:
                self._pet(safe=safe())
            await asyncio.sleep(PET_EVERY_S)

    def _pet(self, *, safe: bool) -> None:
        PETTED.set(safe)
        if not safe:
            log().error("the hardware watchdog is not petted: something runs that must not", resets_within_s=self.armed_s)
            return
        try:
            os.write(self._file, b"\0")
        except OSError as error:
            log().error("the hardware watchdog could not be petted", error=str(error))

    async def stop(self) -> None:
        self.disarm()

    def disarm(self) -> None:
        """A planned end of the agent must not reset its node."""
        self.armed_s = 0.0
        PETTED.set(0)
        if self._file >= 0:
            try:
                os.write(self._file, b"V")
            except OSError as error:
                log().error("the hardware watchdog could not be disarmed", error=str(error))
            finally:
                os.close(self._file)
                self._file = -1
