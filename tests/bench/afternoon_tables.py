"""The tables of the afternoon version, as SQLAlchemy's ORM would have them."""

import asyncio
import os
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, Numeric, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

POOL = 16  # connections a process: two processes keep 32 transactions going, where two cores stop gaining


class Base(DeclarativeBase):
    """What the afternoon version knows."""


class Order(Base):
    """One row for each checkout."""

    __tablename__ = "orders"
    __table_args__ = (Index("orders_by_user", "user_id", "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[str] = mapped_column(Text)
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    status: Mapped[str] = mapped_column(Text, default="processing")
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), default=lambda: datetime.now(UTC))
    items: Mapped[list["OrderItem"]] = relationship(order_by="OrderItem.line", lazy="selectin")


class OrderItem(Base):
    """A line item as bought."""

    __tablename__ = "order_items"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    unit_price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    quantity: Mapped[int]


class IdempotencyKey(Base):
    """A client's own name for its checkout: whoever inserts it first makes the order."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_hash: Mapped[str] = mapped_column(Text)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", deferrable=True, initially="DEFERRED"))


def open_database(database_url: str) -> tuple[AsyncEngine, "async_sessionmaker"]:
    """An engine with its pool and the maker of its sessions. Connects at first use."""
    engine = create_async_engine(
        database_url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=POOL, max_overflow=0
    )
    return engine, async_sessionmaker(engine, expire_on_commit=False)


async def make_tables(database_url: str) -> None:
    """All tables, in an empty database."""
    engine, _ = open_database(database_url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(make_tables(os.environ["DATABASE_URL"]))
