"""The catalogue as a file: what is sold, and what a bad file says."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cart.catalog import CatalogError, load_catalog
from shared.settings import Settings

LAMP: dict[str, Any] = {
    "id": "lamp",
    "title": "Desk Lamp",
    "price": 59.9,
    "description": "A lamp.",
    "longDescription": "A lamp for a desk.",
    "highlights": ["Bright"],
    "specs": [{"label": "Power", "value": "8 W"}],
    "shipping": {"weightNote": "1 kg"},
    "reviews": [{"id": "r", "author": "Ida", "rating": 5, "date": "2025-01-02", "title": "Bright", "body": "Indeed."}],
    "image": "/images/lamp.svg",
    "category": "Light",
    "createdAt": "2025-01-01",
    "popularity": 7,
    "rating": 4.5,
    "stock": 0,
}


def load(folder: Path, *products: dict[str, Any]) -> Any:
    """The catalogue of a file with `products`."""
    path = folder / "shop.json"
    path.write_text(json.dumps(products))
    return load_catalog(Settings(catalog=path))


def test_the_packaged_catalogue_sells_what_the_contract_says() -> None:
    catalog = load_catalog(Settings())
    sold = [(p.id, p.title, p.price, p.category, p.stock) for p in catalog.products()]
    assert sold == [
        ("1", "Wireless Headphones", Decimal(129), "Audio", 25),
        ("2", "Mechanical Keyboard", Decimal(149), "Peripherals", 15),
        ("3", "Gaming Mouse Pad", Decimal(39), "Accessories", 8),
    ]
    assert catalog.categories == {"Audio", "Peripherals", "Accessories"}
    assert [p.id for p in catalog.products("Peripherals")] == ["2"]
    assert catalog.products("Garden") == ()
    assert catalog.get("4") is None


def test_a_product_is_public_as_it_stands_in_the_file(tmp_path: Path) -> None:
    lamp = load(tmp_path, LAMP).get("lamp")
    assert lamp.price == Decimal("59.90")
    assert lamp.public() == LAMP
    assert load(tmp_path, {**LAMP, "discountPercent": 15}).get("lamp").public() == {**LAMP, "discountPercent": 15}


def test_a_price_is_exact_and_has_at_most_two_decimals(tmp_path: Path) -> None:
    assert load(tmp_path, {**LAMP, "price": 0.1}).get("lamp").price == Decimal("0.1")
    with pytest.raises(CatalogError, match="price"):
        load(tmp_path, {**LAMP, "price": 59.999})


def test_the_digest_changes_with_whatever_a_shopper_can_see(tmp_path: Path) -> None:
    digests = {
        load(tmp_path, LAMP).digest,
        load(tmp_path, {**LAMP, "price": 60}).digest,
        load(tmp_path, {**LAMP, "stock": 1}).digest,
        load(tmp_path, {**LAMP, "id": "lamp2"}).digest,
        load(tmp_path, LAMP, {**LAMP, "id": "lamp2"}).digest,
    }
    assert len(digests) == 5
    assert load(tmp_path, LAMP).digest in digests


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"id": "x" * 21}, "0.id"),
        ({"id": ""}, "0.id"),
        ({"title": ""}, "0.title"),
        ({"title": "x" * 201}, "0.title"),
        ({"title": "Lamp\x00"}, "0.title"),
        ({"price": -1}, "0.price"),
        ({"price": 1_000_001}, "0.price"),
        ({"stock": -1}, "0.stock"),
        ({"stock": 1.5}, "0.stock"),
        ({"category": "x" * 51}, "0.category"),
        ({"createdAt": "yesterday"}, "0.createdAt"),
        ({"colour": "red"}, "0.colour"),
        ({"specs": [{"label": "Power"}]}, "0.specs.0.value"),
    ],
)
def test_a_bad_product_is_named_with_the_file_and_the_member(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    with pytest.raises(CatalogError) as refused:
        load(tmp_path, {**LAMP, **change})
    assert "shop.json" in str(refused.value)
    assert f" {fault}: " in str(refused.value)


def test_an_id_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"shop\.json is invalid: the product id lamp stands there twice"):
        load(tmp_path, LAMP, {**LAMP, "title": "Another Lamp"})


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"null", b"\xff\xfe", b'[{"title": "\\ud800"}]'])
def test_a_file_that_is_no_catalogue_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shop.json"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"shop\.json is invalid"):
        load_catalog(Settings(catalog=path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nowhere\.json cannot be read: No such file or directory"):
        load_catalog(Settings(catalog=tmp_path / "nowhere.json"))
