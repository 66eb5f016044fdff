"""The published document: equal to the code, complete, and no promise of its version broken."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.cli.openapi_commands import COPY, SERVED, last_published
from services.gateway.compare_documents import breaking_changes
from services.gateway.document import VERSION, public_document
from services.gateway.routes import ROUTERS

AGAIN = "run `tillroll openapi --write` and commit what it writes"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_checked_in_copies_are_what_the_code_says() -> None:
    document = public_document()
    assert json.loads(COPY.read_text()) == document, AGAIN
    assert json.loads(SERVED.read_text()) == document, AGAIN


def test_no_promise_of_this_version_is_broken() -> None:
    published = last_published(VERSION)
    assert published is not None, AGAIN
    faults = breaking_changes(published, public_document())
    assert not faults, (
        f"a client would break: give VERSION in services/gateway/document.py a new first number: {faults}"
    )


def test_every_public_route_of_the_api_is_in_it_with_its_answers_and_who_may_ask() -> None:
    document = public_document()
    routes: Any = (route for routers in ROUTERS.values() for router in routers for route in router.routes)
    offered = {
        f"{method} {route.path_format}" for route in routes if route.include_in_schema for method in route.methods
    }
    told = dict(operations(document))
    assert told.keys() == offered
    ids = [operation["operationId"] for operation in told.values()]
    assert len(set(ids)) == len(ids)
    for label, operation in told.items():
        assert any(status < "400" for status in operation["responses"]), label
        for status, answer in operation["responses"].items():
            for kind, content in answer["content"].items():
                assert content["schema"].get("$ref") or kind == "text/event-stream", f"{label} {status}"
        is_guarded = "401" in operation["responses"]
        assert is_guarded <= bool(operation.get("security")), label


def test_every_reference_leads_to_a_named_schema() -> None:
    document = public_document()
    text = json.dumps(document)
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    assert {"Order", "CartItem", "Product", "Error"} <= document["components"]["schemas"].keys()


def _without_path(document: dict[str, Any]) -> None:
    del document["paths"]["/api/cart/{session_id}"]


def _without_method(document: dict[str, Any]) -> None:
    del document["paths"]["/api/orders"]["patch"]


def _without_status(document: dict[str, Any]) -> None:
    del document["paths"]["/api/orders"]["post"]["responses"]["200"]


def _without_member(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["Order"]["properties"]["status"]


def _of_another_kind(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Order"]["properties"]["total"] = {"type": "string"}


def _may_be_missing(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Order"]["required"].remove("status")


def _demands_more(document: dict[str, Any]) -> None:
    body = document["components"]["schemas"]["OrderBody"]
    body["properties"]["currency"] = {"type": "string"}
    body["required"] = [*body["required"], "currency"]


def _another_answer(document: dict[str, Any]) -> None:
    answer = document["paths"]["/api/orders"]["post"]["responses"]["201"]
    answer["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/OrderList"}


def _demands_a_header(document: dict[str, Any]) -> None:
    document["paths"]["/api/orders"]["post"]["parameters"][0]["required"] = True


@pytest.mark.parametrize(
    "change",
    [
        _without_path,
        _without_method,
        _without_status,
        _without_member,
        _of_another_kind,
        _may_be_missing,
        _demands_more,
        _another_answer,
        _demands_a_header,
    ],
)
def test_what_would_break_a_client_is_found(change: Callable[[dict[str, Any]], None]) -> None:
    document = public_document()
    changed = copy.deepcopy(document)
    change(changed)
    assert breaking_changes(document, changed)


def test_additions_break_nobody() -> None:
    document = public_document()
    more = copy.deepcopy(document)
    more["paths"]["/api/wishes"] = {"get": {"responses": {}}}
    order = more["components"]["schemas"]["Order"]
    order["properties"]["gift"] = {"type": "boolean"}
    order["required"].append("gift")
    more["paths"]["/api/orders"]["get"]["parameters"] = [
        *document["paths"]["/api/orders"]["get"]["parameters"],
        {"in": "query", "name": "limit", "required": False},
    ]
    assert breaking_changes(document, more) == []
