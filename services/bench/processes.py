"""What processes cost, as the kernel counts it: CPU seconds and memory of a process with all its descendants.

Reads /proc and nothing else, so it works on Linux alone. Never changes a process.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import TillrollError

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds; 10 ms on Linux
_MIB = 1024  # KiB, as /proc counts


class CannotMeasure(TillrollError):
    """This machine does not say what its processes cost."""


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/<pid>/stat. `ticks` are its own and those of the children that it has waited for."""

    pid: int
    parent: int
    ticks: int


def parse_stat(line: str) -> Stat:
    """The name of a process may hold blanks and brackets: only what follows the last bracket is counted off."""
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(")")[2].split()
    return Stat(int(pid), int(fields[1]), sum(map(int, fields[11:15])))  # utime, stime, cutime, cstime


def cpu_seconds(pids: Iterable[int], proc: Path = PROC) -> float:
    """CPU of the processes `pids` and of all their descendants, the ended ones that were waited for included."""
    stats = read_stats(proc)
    return sum(stats[pid].ticks for pid in family(pids, stats)) * TICK


def memory_mib(pids: Iterable[int], proc: Path = PROC) -> float:
    """Proportional set size: a page that several processes share counts once, which a sum of RSS would not do."""
    kib = 0
    for pid in family(pids, read_stats(proc)):
        try:
            rows = (proc / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError as fault:
            raise CannotMeasure(f"the memory of process {pid} may not be read") from fault
        kib += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return kib / _MIB


def read_stats(proc: Path = PROC) -> dict[int, Stat]:
    """Every process that runs; raises CannotMeasure where there is no /proc."""
    if not (proc / "self" / "stat").exists() and proc == PROC:
        raise CannotMeasure("CPU time is read from /proc, which only Linux has")
    found = {}
    for place in proc.iterdir():
        if place.name.isdigit():
            try:
                found[int(place.name)] = parse_stat((place / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
    return found


def family(pids: Iterable[int], stats: Mapping[int, Stat]) -> set[int]:
    """Those of `pids` that run, with all their descendants."""
    children: dict[int, list[int]] = {}
    for stat in stats.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    found: set[int] = set()
    rest = [pid for pid in pids if pid in stats]
    while rest:
        pid = rest.pop()
        if pid not in found:
            found.add(pid)
            rest += children.get(pid, [])
    return found
