"""GET /api/products and /api/products/{id}."""

from typing import Any

import pytest

from tests.contract.shopper import PRICES, STOCK, TITLES, Shopper, assert_data, assert_error, named, quoted
from tests.servers import wait_until

SHAPE: dict[str, Any] = {
    "id": str,
    "title": str,
    "price": (int, float),
    "description": str,
    "longDescription": str,
    "highlights": list,
    "specs": list,
    "shipping": dict,
    "reviews": list,
    "image": str,
    "category": str,
    "createdAt": str,
    "popularity": int,
    "rating": (int, float),
    "stock": int,
}
CATEGORIES = {"1": "Audio", "2": "Peripherals", "3": "Accessories"}


def test_the_catalogue_is_public_and_complete(visitor: Shopper) -> None:
    products = assert_data(visitor.send("GET", "/api/products"))
    assert {product["id"]: product["price"] for product in products} == PRICES
    assert {product["id"]: product["stock"] for product in products} == STOCK
    assert {product["id"]: product["title"] for product in products} == TITLES
    assert {product["id"]: product["category"] for product in products} == CATEGORIES


@pytest.mark.parametrize("product_id", PRICES)
def test_a_product_has_the_contracts_shape(visitor: Shopper, product_id: str) -> None:
    product = assert_data(visitor.send("GET", f"/api/products/{product_id}"))
    assert set(product) - {"discountPercent"} == set(SHAPE)
    for name, kind in SHAPE.items():
        assert isinstance(product[name], kind), name
    assert isinstance(product.get("discountPercent", 0), int | float)
    assert all(isinstance(highlight, str) for highlight in product["highlights"])
    assert all(set(spec) == {"label", "value"} for spec in product["specs"])
    assert set(product["shipping"]) == {"weightNote"}
    assert all(set(review) == {"id", "author", "rating", "date", "title", "body"} for review in product["reviews"])
    assert product in assert_data(visitor.send("GET", "/api/products"))


@pytest.mark.parametrize("path", ["/api/products", "/api/products?category=Audio", "/api/products/2"])
def test_a_repeat_comes_from_the_cache_with_the_same_data(visitor: Shopper, path: str) -> None:
    first = visitor.send("GET", path)
    assert first.json().keys() <= {"data", "source"}
    wait_until(lambda: visitor.send("GET", path).json().get("source") == "redis", f"{path} is cached")
    assert visitor.send("GET", path).json() == {"data": first.json()["data"], "source": "redis"}


@pytest.mark.parametrize(("product_id", "category"), CATEGORIES.items())
def test_a_category_lists_its_products(visitor: Shopper, product_id: str, category: str) -> None:
    products = assert_data(visitor.send("GET", f"/api/products?category={category}"))
    assert [product["id"] for product in products] == [product_id]


def test_an_empty_category_is_all(visitor: Shopper) -> None:
    assert len(assert_data(visitor.send("GET", "/api/products?category="))) == 3


@pytest.mark.parametrize(
    "category", ["Books", "audio", "Audio ", "Audio\n", "A" * 51, "A" * 2000, "*", "\x00", "ä"], ids=named
)
def test_a_category_that_the_catalogue_does_not_have_is_invalid(visitor: Shopper, category: str) -> None:
    assert_error(visitor.send("GET", f"/api/products?category={quoted(category)}"), 400, "Invalid category")


@pytest.mark.parametrize(
    "product_id",
    ["4", "0", "01", "1 ", "1\n", "1\n1", "\n", "1" * 21, "x" * 2000, "a/b", "\u0661", ".1", "1;"],
    ids=named,
)
def test_an_unknown_product_is_an_invalid_id(visitor: Shopper, product_id: str) -> None:
    assert_error(visitor.send("GET", f"/api/products/{quoted(product_id)}"), 400, "Invalid product id")
