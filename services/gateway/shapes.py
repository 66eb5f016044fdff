"""What the public API answers, as named schemas of its document. Describes; the services themselves render.

The suite asks every route for what is told here (tests/contract/test_schemathesis.py).
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from services.cart.catalog import Product as CatalogProduct
from services.cart.model import CartItem
from shared.events import Status

Amount = Annotated[float, Field(ge=0, description="dollars, at most two decimals")]


def _absent(**more: Any) -> Any:
    """A member that may be missing, and is never null."""

    def forget_default(schema: dict[str, Any]) -> None:
        del schema["default"]

    return Field(default=None, json_schema_extra=forget_default, **more)


class Shape(BaseModel):
    """An object of an answer: what is required here is always there, and more may come."""


class Product(CatalogProduct):
    """What is sold. `price` is what is charged; `discountPercent`, if there is one, is display only."""

    price: Amount  # type: ignore[assignment]
    discount_percent: Annotated[int, Field(ge=0, le=100)] = _absent()


class Order(Shape):
    """An order as its owner sees it. `stripeSessionId` is absent when there is none."""

    id: UUID
    userId: str  # noqa: N815  # the contract's own spelling, here and below
    total: Amount
    date: Annotated[datetime, Field(description="of acceptance, three decimals, Z")]
    status: Status
    items: list[CartItem]
    stripeSessionId: str = _absent()  # noqa: N815


class RecordedItem(Shape):
    """A line item as bought; null = not known (an order of the old shop)."""

    id: str
    quantity: int
    title: str | None
    unitPrice: Amount | None  # noqa: N815


class RecordedOrder(Order):
    """An order as an operator sees it."""

    items: list[RecordedItem]  # type: ignore[assignment]


class RecordedLine(Shape):
    """A line item of a product with the order that it belongs to."""

    orderId: UUID  # noqa: N815
    userId: str  # noqa: N815
    status: Status
    date: datetime
    line: int
    title: str | None
    unitPrice: Amount | None  # noqa: N815
    quantity: int


class PaymentSession(Shape):
    """Where a checkout is paid, until it expires."""

    id: str
    url: str
    orderId: UUID  # noqa: N815
    expiresAt: datetime  # noqa: N815


class Error(Shape):
    """Every failure but GraphQL's. Some have further members beside the text."""

    error: str


class ProductList(Shape):
    """`source` is there when the answer came from the cache."""

    data: list[Product]
    source: Literal["redis"] = _absent()


class ProductAnswer(Shape):
    """`source` is there when the answer came from the cache."""

    data: Product
    source: Literal["redis"] = _absent()


class Cart(Shape):
    """What is in the cart; an empty list when there is none."""

    data: list[CartItem]


class OrderAnswer(Shape):
    """One order."""

    data: Order


class OrderList(Shape):
    """Own orders, newest first; with `session_id` the one of that payment session."""

    data: list[Order] | Order
    next: Annotated[str | None, Field(description="only of a page: the cursor of the one after it")] = _absent()


class PaymentSessionAnswer(Shape):
    """The session that is open."""

    data: PaymentSession


class Received(Shape):
    """The webhook's answer to everything that is signed."""

    received: Literal[True]


class _Page(Shape):
    next: Annotated[str | None, Field(description="`cursor` of the page after this one, null = the last")]
    accepted_not_recorded: Annotated[int | None, Field(description="null = unknown")]


class RecordedOrderPage(_Page):
    """Recorded orders, newest first."""

    data: list[RecordedOrder]


class RecordedLinePage(_Page):
    """Recorded line items, newest first."""

    data: list[RecordedLine]


class Answer(Shape):
    """An answer for operators; docs/reference.md tells what is in it."""

    data: Any


class GraphQLError(Shape):
    """One thing that is wrong with the query."""

    message: str


class GraphQLAnswer(Shape):
    """`data` by the schema; on a failure `errors`, with `data: null` for createOrder."""

    data: dict[str, Any] | None = _absent()
    errors: list[GraphQLError] = _absent()


ANSWERS: dict[str, type[Shape]] = {
    "listProducts": ProductList,
    "showProduct": ProductAnswer,
    "readCart": Cart,
    "replaceCart": Cart,
    "placeOrder": OrderAnswer,
    "listOwnOrders": OrderList,
    "markPaid": OrderAnswer,
    "cancelOrder": OrderAnswer,
    "openPaymentSession": PaymentSessionAnswer,
    "takeWebhook": Received,
    "graphql": GraphQLAnswer,
    "listOrdersOfAll": RecordedOrderPage,
    "listOrdersOfProduct": RecordedLinePage,
}
"""Operation -> what its success is. The operators' other routes answer an `Answer`."""
