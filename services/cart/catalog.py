"""The products of the shop, read once from a data file. Owns their shape and public JSON; never counts stock down."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import TillrollError
from shared.events import Money, ProductId, money_number
from shared.settings import Settings

DEFAULT_FILE = "catalog.json"  # packaged beside this module

Title = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]  # as events carry it
Category = Annotated[str, StringConstraints(min_length=1, max_length=50)]  # CONTRACT: longer filters are invalid


class CatalogError(TillrollError):
    """The catalogue cannot be used: names the file and everything that is wrong with it."""


class _Part(BaseModel):
    """Immutable, camel case in JSON; an unknown member is a typing error of the shop keeper's and is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, allow_inf_nan=False)


class Spec(_Part):
    """One line of a product's data sheet."""

    label: str
    value: str


class Shipping(_Part):
    """What a shopper should know about the parcel."""

    weight_note: str


class Review(_Part):
    """A shopper's opinion; `rating` in stars."""

    id: str
    author: str
    rating: Annotated[float, Field(ge=0, le=5)]
    date: date
    title: str
    body: str


class Product(_Part):
    """What is sold. `price` is charged as is; `discount_percent` is display only; `stock` is checked for each order."""

    id: ProductId
    title: Title
    price: Money
    description: str
    long_description: str
    highlights: tuple[str, ...]
    specs: tuple[Spec, ...]
    shipping: Shipping
    reviews: tuple[Review, ...]
    image: str
    category: Category
    created_at: date
    popularity: Annotated[int, Field(ge=0)]
    rating: Annotated[float, Field(ge=0, le=5)]
    stock: Annotated[int, Field(ge=0)]
    discount_percent: Annotated[int, Field(ge=0, le=100)] | None = None

    def public(self) -> dict[str, Any]:
        """The contract's Product: the price is a number, an absent discount is an absent key."""
        fields = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {**fields, "price": money_number(self.price)}


_PRODUCTS: TypeAdapter[tuple[Product, ...]] = TypeAdapter(tuple[Product, ...])


@dataclass(frozen=True)
class Catalog:
    """All products, in the file's order; ids are unique."""

    _by_id: dict[str, Product]

    def get(self, product_id: str) -> Product | None:
        """The product of that id, or None."""
        return self._by_id.get(product_id)

    def products(self, category: str | None = None) -> tuple[Product, ...]:
        """All products, or those of one category; an unknown category has none."""
        return tuple(product for product in self._by_id.values() if category in (None, product.category))

    @cached_property
    def categories(self) -> frozenset[str]:
        """Every category that has a product."""
        return frozenset(product.category for product in self._by_id.values())

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with anything a shopper can see: names what was cached from this catalogue."""
        return hashlib.sha256(public_json(self.products())).hexdigest()[:16]


def public_json(products: Iterable[Product] | Product) -> bytes:
    """A product, or a list of them, as the contract's JSON."""
    shown = products.public() if isinstance(products, Product) else [product.public() for product in products]
    return pydantic_core.to_json(shown)


def load_catalog(settings: Settings) -> Catalog:
    """The catalogue of `settings.catalog`, else the packaged one; raises CatalogError for an unusable file."""
    source = settings.catalog or files(__package__).joinpath(DEFAULT_FILE)
    try:
        products = _PRODUCTS.validate_json(source.read_bytes())
    except OSError as fault:
        raise CatalogError(f"The catalogue {source} cannot be read: {fault.strerror}") from fault
    except ValidationError as fault:
        raise CatalogError(f"The catalogue {source} is invalid: {_describe(fault)}") from fault
    by_id = {product.id: product for product in products}
    if len(by_id) < len(products):
        twice = next(product.id for product in products if by_id[product.id] is not product)
        raise CatalogError(f"The catalogue {source} is invalid: the product id {twice} stands there twice")
    return Catalog(by_id)


def _describe(fault: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, error['loc'])) or 'the file'}: {error['msg']}"
        for error in fault.errors(include_url=False, include_input=False)
    )
