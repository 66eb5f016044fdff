"""Prices and stock of what is about to be bought. Pure; never asked about a checkout that is known already."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from services.cart.catalog import Catalog
from services.cart.model import CartItem
from shared.errors import ApiError
from shared.events import Line


def price_lines(catalog: Catalog, items: Sequence[CartItem], total: Decimal) -> tuple[Line, ...]:
    """The line items at today's titles and prices.

    Raises ApiError: 400 when they do not sum up to `total`, 409 when a product's lines exceed its stock.
    """
    wanted: Counter[str] = Counter()
    lines = []
    for item in items:
        product = catalog.get(item.id)
        assert product is not None, "the payload was checked against the catalogue"
        wanted[item.id] += item.quantity
        lines.append(Line(product_id=item.id, title=product.title, unit_price=product.price, quantity=item.quantity))
    if total != sum((line.unit_price or 0) * line.quantity for line in lines):
        raise ApiError(400, "Order total does not match catalog prices")
    for product_id, quantity in wanted.items():
        product = catalog.get(product_id)
        assert product is not None
        if quantity > product.stock:
            raise ApiError(
                409, f"Insufficient stock for {product.title}: requested {quantity}, available {product.stock}"
            )
    return tuple(lines)
