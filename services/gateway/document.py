"""The public API as one OpenAPI document, over the route table of all services. Knows no server and no setting.

`tillroll openapi` prints it, a test holds the checked-in copies equal to it, every gateway serves it.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from services.gateway.routes import ROUTERS
from services.gateway.shapes import ANSWERS, Answer, Error, GraphQLAnswer
from shared.http import EVERYWHERE
from shared.openapi import refusals

VERSION = "1.0.0"
"""Of the document: the first number changes when a client could break, the second when something is added."""

_ABOUT = (
    "Carts, orders and their status. A success is `{data}`, a failure `{error}`. 503 or a broken connection means "
    "unknown: send the same request again, an order with the same Idempotency-Key."
)
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__session",
        "description": "counts on writing methods only from a page of our own, with a JSON body",
    },
    "stripe": {"type": "apiKey", "in": "header", "name": "Stripe-Signature"},
}
_USER: list[dict[str, Any]] = [{"bearer": []}, {"session": []}]
_HEADERS = {
    "ETag": "the cart's version, for If-Match",
    "Event-Id": "the order's id",
    "Idempotent-Replayed": "`true` when the order was known",
    "Retry-After": "seconds",
    "Tillroll-Partial": "`accepted`: only what is recorded is in the list",
}
_HEADERS_OF = {
    ("readCart", 200): ["ETag"],
    ("replaceCart", 200): ["ETag"],
    ("replaceCart", 412): ["ETag"],
    ("placeOrder", 201): ["Event-Id"],
    ("placeOrder", 200): ["Event-Id", "Idempotent-Replayed"],
    ("listOwnOrders", 200): ["Tillroll-Partial"],
    ("openPaymentSession", 200): ["Event-Id"],
}
_REF = "#/components/schemas/"
_GRAPHQL = "graphql"
_TOO_MANY = {429: "Too many requests, please retry"}


def public_document() -> dict[str, Any]:
    """The document, the same at every call."""
    app = FastAPI(
        title="Tillroll",
        version=VERSION,
        description=_ABOUT,
        responses=refusals(EVERYWHERE | _TOO_MANY),
        generate_unique_id_function=_operation_id,
    )
    for routers in ROUTERS.values():
        for router in routers:
            app.include_router(router)
    document: dict[str, Any] = app.openapi()
    shapes = [(shape, "serialization") for shape in {*ANSWERS.values(), Answer, Error}]
    told = models_json_schema(shapes, by_alias=True, ref_template=_REF + "{model}")[1]["$defs"]  # type: ignore[arg-type]
    schemas = {name: _open(_sound(schema)) for name, schema in told.items()}
    for path, operation in _operations(document):
        _finish(path, operation, schemas)
    document["components"] = {"schemas": dict(sorted(schemas.items())), "securitySchemes": _SCHEMES}
    return {name: _sound(part) for name, part in document.items()}


def _operation_id(route: APIRoute) -> str:
    first, *rest = route.name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _finish(path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Names what the services leave nameless: answers, errors, bodies, headers, who may ask."""
    operation_id = operation["operationId"]
    answers: dict[str, Any] = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]  # FastAPI's own, for path parameters: a string is always valid
    for status, answer in answers.items():
        content = answer.setdefault("content", {"application/json": {}})
        if "application/json" in content:
            content["application/json"]["schema"] = {"$ref": _REF + _shape_of(operation_id, int(status))}
        shown = [
            *_HEADERS_OF.get((operation_id, int(status)), ()),
            *(["Retry-After"] if status in ("429", "503") else []),
        ]
        if shown:
            answer["headers"] = {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in shown}
    operation["responses"] = dict(sorted(answers.items()))
    if "/webhooks/" in path:
        operation["security"] = [{"stripe": []}]
    elif operation_id == _GRAPHQL:
        operation["security"] = [{}, *_USER]
    elif "401" in answers:
        operation["security"] = _USER
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["schema"] = _named(content["schema"], schemas)


def _shape_of(operation_id: str, status: int) -> str:
    if operation_id == _GRAPHQL and status in (200, 400, 429, 503):
        return GraphQLAnswer.__name__
    return (ANSWERS.get(operation_id, Answer) if status < 400 else Error).__name__


def _named(schema: Any, schemas: dict[str, Any]) -> Any:
    """`schema` with its titled objects moved among the named ones."""
    if isinstance(schema, list):
        return [_named(part, schemas) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _named(part, schemas) for name, part in schema.items()}
    if inner.get("type") != "object" or not isinstance(inner.get("title"), str) or "properties" not in inner:
        return inner
    name = inner["title"].lstrip("_")
    if schemas.setdefault(name, _sound(inner)) != _sound(inner):
        raise ValueError(f"two different bodies are called {name}")
    return {"$ref": _REF + name}


def _open(schema: dict[str, Any]) -> dict[str, Any]:
    """An answer may get further members: that breaks no client."""
    return {name: value for name, value in schema.items() if name != "additionalProperties"}


def _sound(part: Any) -> Any:
    """Without titles that repeat a name, and with pydantic's bounds of a checked number as JSON Schema spells them."""
    if isinstance(part, list):
        return [_sound(value) for value in part]
    if not isinstance(part, dict):
        return part
    words = {"ge": "minimum", "le": "maximum"}
    return {
        words.get(name, name): _sound(value)
        for name, value in part.items()
        if not (name == "title" and isinstance(value, str) and "version" not in part)
    }
