"""Prices and stock of what is about to be bought. Pure; never asked about a checkout that is known already."""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from services.cart.catalog import Catalog
from services.cart.model import CartItem
from shared.errors import ApiError
from shared.events import Line


def price_lines(catalog: Catalog, items: Sequence[CartItem], total: Decimal) -> tuple[Line, ...]:
    """The line items at today's titles and prices.

    Raises ApiError: 400 when they do not sum up to `total`, 409 when a product's lines exceed its stock.
    """
    wanted: dict[str, int] = {}
    lines = []
    sum_of_lines = Decimal(0)
    for item in items:
        product = catalog.get(item.id)
        assert product is not None, "the payload was checked against the catalogue"
        wanted[item.id] = wanted.get(item.id, 0) + item.quantity
        lines.append(_line(product.id, product.title, product.price, item.quantity))
        sum_of_lines += product.price * item.quantity
    if total != sum_of_lines:
        raise ApiError(400, "Order total does not match catalog prices")
    for product_id, quantity in wanted.items():
        product = catalog.get(product_id)
        assert product is not None
        if quantity > product.stock:
            raise ApiError(
                409, f"Insufficient stock for {product.title}: requested {quantity}, available {product.stock}"
            )
    return tuple(lines)


@lru_cache(maxsize=4096)
def _line(product_id: str, title: str, unit_price: Decimal, quantity: int) -> Line:
    """Checked once for every product and quantity, and not again for each order."""
    return Line(product_id=product_id, title=title, unit_price=unit_price, quantity=quantity)
