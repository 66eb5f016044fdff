"""One number for all orders, line items and statuses: equal rows give equal checksums, in whatever order they lie."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.orders.archive import DERIVED

CHECKSUM = """
WITH parts (name, rows, digest) AS (
    SELECT 'orders', count(*), sum(CAST(CAST('x' || left(md5(CAST(json_build_array(
               id, user_id, total, status, extract(epoch FROM created_at), payment_session_id
           ) AS text)), 15) AS bit(60)) AS bigint)) FROM {schema}.orders
    UNION ALL
    SELECT 'order_items', count(*), sum(CAST(CAST('x' || left(md5(CAST(json_build_array(
               order_id, line, product_id, title, unit_price, quantity
           ) AS text)), 15) AS bit(60)) AS bigint)) FROM {schema}.order_items
    UNION ALL
    SELECT 'order_statuses', count(*), sum(CAST(CAST('x' || left(md5(CAST(json_build_array(
               order_id, status
           ) AS text)), 15) AS bit(60)) AS bigint)) FROM {schema}.order_statuses
)
SELECT md5(string_agg(concat_ws(' ', name, rows, digest), ',' ORDER BY name)), json_object_agg(name, rows) FROM parts
"""
"""The documented expression (docs/runbooks/rebuild.md), for the tables of `schema`."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """`text`: 32 hex digits; `rows`: how many rows each table has."""

    text: str
    rows: dict[str, int]


async def read_checksum(connection: AsyncConnection, schema: str) -> Checksum | None:
    """The checksum of the tables in `schema`; None = one of them is not there."""
    names = [f"{schema}.{table}" for table in DERIVED]
    found = text("SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(CAST(:names AS text[])) name")
    if not (await connection.execute(found, {"names": names})).scalar():
        return None
    checksum, rows = (await connection.execute(text(CHECKSUM.format(schema=schema)))).one()
    return Checksum(checksum, rows)
