"""The catalogue of faults. Each strikes, holds for so many seconds, and heals what it broke; none judges."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from services.certify import faults_disk as disk
from services.certify import faults_erasure as erasure
from services.certify import faults_network as network
from services.certify import faults_processes as processes
from services.certify import faults_redis as redis
from services.certify.stage import Stage
from services.certify.world import CHECKOUTS, CONSUMERS

OUTAGE = 20.0  # seconds


@dataclass(frozen=True)
class Fault:
    """One kind. `hold`: seconds between blow and healing where time allows. `skip`: why this machine cannot have it."""

    strike: Callable[[Stage, float], Awaitable[None]]
    hold: float
    told: str
    skip: Callable[[], str | None] = lambda: None
    is_default: bool = True


FAULTS: Mapping[str, Fault] = {
    "consumer-kill": Fault(
        partial(processes.kill_consumer, "consumer-1"), 3, "kill -9 of a consumer in the middle of a batch"
    ),
    "second-consumer-kill": Fault(
        partial(processes.kill_consumer, "consumer-2"),
        15,
        "kill -9 of the other consumer in the middle of a batch, which the first one has to finish",
    ),
    "gateway-kill": Fault(partial(processes.kill, "gateway-1"), 3, "kill -9 of a gateway"),
    "checkout-kill": Fault(partial(processes.kill, "checkout-1"), 3, "kill -9 of a checkout service"),
    "gateway-restart": Fault(partial(processes.restart, CHECKOUTS), 0, "SIGTERM of gateways and checkout, one by one"),
    "consumer-restart": Fault(partial(processes.restart, CONSUMERS), 0, "SIGTERM of the consumers, one by one"),
    "redis-kill": Fault(redis.kill, 3, "kill -9 of Redis, and its start on the append-only file"),
    "redis-loading": Fault(redis.load_slowly, 3, "a Redis that answers LOADING"),
    "group-destroyed": Fault(redis.destroy_group, 2, "XGROUP DESTROY with batches in hand and entries unread"),
    "redis-erased": Fault(erasure.erase, 0, "Redis' disk erased when everything was recorded"),
    "redis-readonly": Fault(redis.make_read_only, 5, "READONLY answers: Redis as a replica of nobody"),
    "redis-no-replicas": Fault(redis.want_replicas, 5, "NOREPLICAS answers: too few replicas for a write"),
    "redis-full": Fault(redis.fill_memory, 5, "OOM answers: Redis beyond its maxmemory"),
    "disk-full": Fault(disk.fill_disk, 5, "a full disk under Redis' append-only file", disk.why_no_small_disk),
    "postgres-stop": Fault(processes.stop_postgres, OUTAGE, "immediate stop of Postgres"),
    "postgres-pause": Fault(processes.pause_postgres, OUTAGE, "SIGSTOP of all of Postgres", processes.why_no_pause),
    "redis-wire-slow": Fault(network.slow_redis, 5, "slow connections of a gateway and a consumer to Redis"),
    "redis-wire-cut": Fault(network.cut_redis, 3, "their answers swallowed, then the connections cut"),
    "postgres-wire-cut": Fault(network.cut_postgres, 3, "a consumer's answers from Postgres swallowed, then cut"),
    "client-wire-slow": Fault(network.slow_client, 5, "slow connections between clients and a checkout service"),
    "client-wire-cut": Fault(network.cut_client, 3, "its answers swallowed, then the connections cut"),
    "clock-jump": Fault(
        processes.jump_clock,
        8,
        "a gateway's clock two hours ahead, a consumer's a day behind",
        processes.why_no_faketime,
    ),
    "redis-erased-under-load": Fault(
        erasure.erase_under_load, 2, "Redis' disk erased with accepted and unrecorded orders on it", is_default=False
    ),
    "names-forgotten": Fault(
        erasure.forget_names,
        0,
        "after the load: Redis' disk erased and no reload; every key is submitted again",
    ),
}
AT_THE_END = frozenset({"names-forgotten"})
