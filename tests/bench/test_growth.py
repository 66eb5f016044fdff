"""The past that growth is measured on is one that the product could have recorded, and the judgement can say no."""

import asyncpg
import pytest

from services.bench.grow import CHUNK, ORDERS_OF_A_USER, FreshCheckouts, grow, readers
from services.bench.growth import SIZES, Growth, Step, sizes_up_to
from services.bench.growth_report import render_growth
from services.bench.table_sizes import read_relations
from services.cart.catalog import load_catalog
from services.orders.archive import connect_operator
from services.orders.reconcile_rows import compare_pages
from services.orders.record_events import record_batch
from shared.postgres import connect_postgres
from shared.settings import Settings


def test_sizes_grow_up_to_the_one_that_is_asked_for_in_whole_chunks() -> None:
    assert sizes_up_to(None) == SIZES
    assert sizes_up_to(150_000) == (100_000, 200_000)
    assert sizes_up_to(40_000) == (100_000,)


@pytest.mark.parametrize(
    ("grown", "is_flat"),
    [
        ({}, True),
        ({"inserts": 1.4, "lists": 1.2, "reconciled": 1.4}, True),
        ({"inserts": 1.6}, False),
        ({"lists": 1.4}, False),
        ({"reconciled": 1.6}, False),
        ({"buffers": 1.1}, False),
    ],
)
def test_growth_is_flat_only_when_neither_an_order_nor_a_list_nor_reconcile_grows_dear(
    grown: dict[str, float], is_flat: bool
) -> None:
    growth = Growth(_ENVIRONMENT, {"shared_buffers": "6GB"}, [_step(), _step(**grown)], [_step(inserts=9)])
    assert growth.is_flat is is_flat
    assert ("NOT flat" in render_growth(growth)) is not is_flat


async def test_reconcile_finds_nothing_wrong_with_the_past_and_with_fresh_checkouts_on_it(
    settings: Settings, orders_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.bench.grow.CHUNK", 2000)
    monkeypatch.setattr("services.bench.grow._USERS_OF_A_CHUNK", 100)
    await grow(orders_url, 0, 4000, lambda _line: None)
    own = Settings(DATABASE_URL=orders_url)
    engine = connect_postgres(own, "bench")
    (fresh,) = FreshCheckouts(load_catalog(settings), 4000).batches(1, 500)
    assert len((await record_batch(engine, fresh, "bench")).recorded) == 500
    await engine.dispose()
    operator = connect_operator(own, "bench")
    pages = [page async for page in compare_pages(operator, fix=False)]
    await operator.dispose()
    assert (sum(count for count, _, _ in pages), [wrong for _, _, found in pages for wrong in found]) == (4500, [])
    connection = await asyncpg.connect(orders_url)
    of_readers = await connection.fetch(
        "SELECT count(*) FROM orders WHERE user_id = ANY($1) GROUP BY user_id", readers(4000, 15)
    )
    await connection.close()
    assert [row["count"] for row in of_readers] == [ORDERS_OF_A_USER] * 15
    relations = {relation.name: relation for relation in await read_relations(orders_url)}
    assert relations["order_items"].bytes > relations["orders_pkey"].bytes > 100_000


def test_a_chunk_is_whole_users() -> None:
    assert CHUNK % ORDERS_OF_A_USER == 0
    assert all(size % CHUNK == 0 for size in SIZES)


_ENVIRONMENT = {
    "commit": "0123456789ab",
    "at": "2026-03-14T09:26:53+00:00",
    "machine": "Linux",
    "load_average": 0.5,
    "file_system": "ext4",
    "python": "3.11",
    "postgres": {"version": "18", "fsync": "on"},
}


def _step(inserts: float = 1.0, lists: float = 1.0, reconciled: float = 1.0, buffers: float = 1.0) -> Step:
    told = {"ms": 40.0, "wal": 3000.0, "rate": 500.0, "seconds": 200.0}

    def costs(times: float, pages: float = 1.0) -> list[dict[str, float]]:
        cpu = {"postgres": 60 * times, "consumer": 50 * times, "web": 900 * times, "redis": 40 * times}
        return [{**cpu, **told, "buffers": 102 * pages}]

    return Step(
        1_000_000,
        inserts={"small": costs(1), "grown": costs(inserts)},
        lists={"small": costs(1), "grown": costs(lists, buffers)},
        reconciled={"small": costs(1), "grown": costs(reconciled)},
        after_checkpoint={"postgres": 138.0, "ms": 131.0, "wal": 40_321.0},
        count_seconds=0.8,
        fresh=500,
    )
