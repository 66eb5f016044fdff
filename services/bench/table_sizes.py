"""What each table and index weighs, all its partitions together, and how often its pages were not in shared_buffers."""

from dataclasses import dataclass

from services.bench.grow import connect

_RELATIONS = """
SELECT coalesce(parent.relname, own.relname)::text AS name, is_index, sum(pg_relation_size(own.oid))::bigint AS bytes,
       sum(found.read)::bigint AS read, sum(found.hit)::bigint AS hit
FROM (SELECT indexrelid AS id, true AS is_index, idx_blks_read AS read, idx_blks_hit AS hit FROM pg_statio_user_indexes
      UNION ALL
      SELECT relid, false, heap_blks_read, heap_blks_hit FROM pg_statio_user_tables) AS found
JOIN pg_class own ON own.oid = found.id
LEFT JOIN pg_inherits ON inhrelid = own.oid
LEFT JOIN pg_class parent ON parent.oid = inhparent
GROUP BY 1, 2 HAVING sum(pg_relation_size(own.oid)) > 100000 ORDER BY bytes DESC
"""


@dataclass(frozen=True)
class Relation:
    """A table or an index; `read` and `hit`: its pages that the server asked for and that it had, since a reset."""

    name: str
    is_index: bool
    bytes: int
    read: int
    hit: int

    @property
    def missing(self) -> float:
        """The share of page accesses that shared_buffers could not answer."""
        return self.read / (self.read + self.hit) if self.read + self.hit else 0.0


async def read_relations(url: str) -> list[Relation]:
    """Every one above 100 kB, largest first."""
    connection = await connect(url)
    try:
        return [Relation(**dict(row)) for row in await connection.fetch(_RELATIONS)]
    finally:
        await connection.close()
