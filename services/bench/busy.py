"""What else this machine does while a benchmark runs: the CPU that neither it nor what it started has used."""

import os
import time
from pathlib import Path

from services.bench.processes import TICK, cpu_seconds

STAT = Path("/proc/stat")
QUIET_LOAD = 0.5  # load average a core, before we begin
QUIET_CORES = 0.15  # of other work, during the run


class OtherWork:
    """Counts from its making on. Linux only; in a container it counts the whole machine."""

    def __init__(self, stat: Path = STAT) -> None:
        self._stat = stat
        self._begun, self._all, self._own = time.monotonic(), _busy_seconds(stat), cpu_seconds([os.getpid()])

    def seconds(self) -> float:
        """CPU seconds so far; ask while what was started still runs."""
        return max(0.0, _busy_seconds(self._stat) - self._all - (cpu_seconds([os.getpid()]) - self._own))

    def cores(self) -> float:
        """The same as a number of cores, on average."""
        return round(self.seconds() / (time.monotonic() - self._begun), 2)


def warning_before() -> str | None:
    """A sentence when the machine has not been quiet of late."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= QUIET_LOAD * cores:
        return None
    return f"THE MACHINE IS BUSY: load average {load:.1f} on {cores} cores. Rates will mean little; wait, or go on."


def _busy_seconds(stat: Path) -> float:
    """CPU seconds of all cores since the machine began, what a hypervisor took included."""
    ticks = [int(number) for number in stat.read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _waiting, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) * TICK
