"""Runs wrk, the C client: what is measured must not be the client. Judges nothing."""

import asyncio
import os
import resource
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.bench.shoppers import Shoppers
from shared.errors import TillrollError

CHECKOUTS = Path(__file__).with_name("checkouts.lua")
READS = Path(__file__).with_name("reads.lua")
TIMEOUT = "8s"  # the first storefront's patience


class NoClient(TillrollError):
    """There is nothing to measure with."""


@dataclass(frozen=True)
class Answers:
    """What wrk saw in one run. Ids are those of the 201s, in the order of their answers; times in ms, of every answer.

    `submitted`: by thread, one for each process that was asked. wrk adds to the latencies what requests that it could
    not send meanwhile would have waited.
    """

    first: int
    submitted: tuple[int, ...]
    order_ids: tuple[str, ...]
    duplicates: int
    refused: int
    last_refusal: str
    broken: int
    timeouts: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    client_cpu: float = 0.0

    @property
    def numbers(self) -> Iterator[int]:
        """Of every checkout that may have been sent: thread t of T sent number `first` + t and every T-th after it."""
        threads = len(self.submitted)
        for place, sent in enumerate(self.submitted):
            yield from range(self.first + place, self.first + place + sent * threads, threads)

    @property
    def next_first(self) -> int:
        """A number behind all of them."""
        return self.first + len(self.submitted) * max(self.submitted)

    @property
    def rate(self) -> float:
        """Orders accepted a second."""
        return len(self.order_ids) / self.seconds


def require_wrk() -> str:
    """Where wrk is; raises NoClient with what to do."""
    found = shutil.which("wrk")
    if found is None:
        raise NoClient("wrk is not installed, and no other client is fast enough: apt install wrk (brew install wrk).")
    return found


async def check_out(
    shoppers: Shoppers,
    folder: Path,
    ports: Sequence[int],
    first: int,
    connections: int,
    seconds: float,
    think_ms: float = 0,
) -> Answers:
    """Checkouts `first` + 1 and on, for `seconds`; each connection waits `think_ms` on average before its next one.

    Every one of `ports` gets an equal share of the connections.
    """
    ids, report = folder / f"from-{first}.ids", folder / f"from-{first}.report"
    arguments = [shoppers.tokens_file, shoppers.bodies_file, ids, report, first, f"{think_ms:.3f}"]
    cpu = await _run(CHECKOUTS, report, ports, connections, seconds, *map(str, arguments))
    return replace(read_report(first, report.read_text(), _read_ids(ids)), client_cpu=cpu)


def _read_ids(file: Path) -> str:
    """Those of all threads."""
    return "".join(part.read_text() for part in file.parent.glob(f"{file.name}.*"))


@dataclass(frozen=True)
class Lists:
    """What wrk saw of the order list: lists, and orders in all of them."""

    answered: int
    refused: int
    orders: int
    seconds: float
    p50_ms: float
    p99_ms: float


async def ask_for_orders(shoppers: Shoppers, folder: Path, port: int, connections: int, seconds: float) -> Lists:
    """GET /api/orders for `seconds`, of one shopper after the other."""
    report = folder / "lists.report"
    await _run(READS, report, [port], connections, seconds, str(shoppers.tokens_file), str(report))
    said = _said(report.read_text())
    return Lists(
        answered=int(float(said["answered"])),
        refused=int(float(said["refused"])),
        orders=int(float(said["orders"])),
        seconds=float(said["duration_us"]) / 1e6,
        p50_ms=float(said["p50_us"]) / 1000,
        p99_ms=float(said["p99_us"]) / 1000,
    )


async def _run(
    script: Path, report: Path, ports: Sequence[int], connections: int, seconds: float, *arguments: str
) -> float:
    """The client's own CPU seconds; raises NoClient when it did not write `report`."""
    argv = [require_wrk(), f"-t{len(ports)}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    argv += ["--timeout", TIMEOUT, "-s", str(script), f"http://127.0.0.1:{ports[0]}/api/orders", "--", *arguments]
    before = _cpu_of_ended_children()
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**os.environ, "DOORS": " ".join(map(str, ports))},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    if process.returncode != 0 or not report.exists():  # noqa: ASYNC240  one look
        raise NoClient(f"wrk failed: {told.decode(errors='replace').strip()[-500:]}")
    return _cpu_of_ended_children() - before


def read_report(first: int, report: str, ids: str) -> Answers:
    """What checkouts.lua wrote: a name and a value a line, and an id a line."""
    said = _said(report)
    return Answers(
        first=first,
        submitted=tuple(int(sent) for sent in said["submitted"].split()),
        order_ids=tuple(ids.split()),
        duplicates=sum(map(int, said["duplicates"].split())),
        refused=sum(map(int, said["refused"].split())),
        last_refusal=said.get("last_refusal", "").strip(),
        broken=int(float(said["broken"])) + int(float(said["connect"])),
        timeouts=int(float(said["timeouts"])),
        seconds=float(said["duration_us"]) / 1e6,
        p50_ms=float(said["p50_us"]) / 1000,
        p99_ms=float(said["p99_us"]) / 1000,
        max_ms=float(said["max_us"]) / 1000,
    )


def _said(report: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in report.splitlines() if " " in line)


def _cpu_of_ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
