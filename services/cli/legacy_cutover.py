"""The cut-over as one run: orders, then carts, then, when asked and proven, the deletion of the old keys."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis

from services.cart.catalog import load_catalog
from services.cli.legacy_carts import CartsImported, import_carts
from services.orders.legacy_import import Deleted, Imported, delete_keys, import_orders
from services.orders.reconcile_run import reconcile
from shared.postgres import connect_postgres
from shared.redis import connect_redis
from shared.settings import Settings

Progress = Callable[[int, int], None]
"""Told how many users are done, of how many."""


@dataclass(slots=True)
class CutOver:
    """`deletion`: None = not asked for, or not allowed because `is_reconciled` is False."""

    orders: Imported
    carts: CartsImported
    is_dry_run: bool
    is_reconciled: bool | None = None
    deletion: Deleted | None = None

    @property
    def is_clean(self) -> bool:
        """Whether everything could be read and, if asked for, deleted."""
        return not self.orders.damages and not self.carts.damages and self.is_reconciled is not False

    def counts(self) -> dict[str, int]:
        """What the audit trail keeps of it."""
        return {
            "published": self.orders.published,
            "known": self.orders.known,
            "carts": self.carts.stored,
            "damaged": len(self.orders.damages) + len(self.carts.damages),
            "deleted": len(self.deletion.deleted) if self.deletion else 0,
        }

    def public(self) -> dict[str, Any]:
        """JSON's view of it."""
        return {"is_clean": self.is_clean, **asdict(self)}


async def cut_over(
    settings: Settings, legacy_url: str | None, *, dry_run: bool, with_deletion: bool, tell: Progress
) -> CutOver:
    """Runs the cut-over from `legacy_url` (None = our own Redis); raises ConsumerIdle and what the servers raise.

    Keys are deleted only after a reconciliation that finds nothing, and each only when all it holds is archived.
    """
    redis = connect_redis(settings, "legacy-import")
    source = Redis.from_url(legacy_url, protocol=2) if legacy_url else redis
    engine = connect_postgres(settings, "legacy-import")
    catalog = load_catalog(settings)
    titles = {product.id: product.title for product in catalog.products()}
    try:
        orders = await import_orders(source, redis, engine, titles, dry_run=dry_run, tell=tell)
        carts = await import_carts(source, redis, settings, catalog, dry_run=dry_run)
        result = CutOver(orders, carts, dry_run)
        if with_deletion:
            result.is_reconciled = (await reconcile(settings, fix=False)).is_clean
            if result.is_reconciled:
                result.deletion = await delete_keys(source, engine, titles, dry_run=dry_run)
    finally:
        await engine.dispose()
        await redis.aclose()
        if source is not redis:
            await source.aclose()
    return result
