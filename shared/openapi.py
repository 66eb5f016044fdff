"""What a lean route, which reads body and query by itself, says in the OpenAPI document. Describes; checks nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

_FAILURE = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def refusals(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: status -> the failure envelope, described by its text."""
    content = {"application/json": {"schema": _FAILURE}}
    return {status: {"description": text, "content": content} for status, text in texts.items()}


def takes(
    *,
    body: type[BaseModel] | TypeAdapter[Any] | None = None,
    query: Iterable[type[BaseModel]] = (),
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A route's `openapi_extra`: the JSON body, the members of `query` as parameters, headers with what they mean."""
    parameters = [
        {"in": "query", "name": name, "required": False, "schema": schema}
        for shape in query
        for name, schema in _inlined(shape)["properties"].items()
    ]
    parameters += [
        {"in": "header", "name": name, "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in (headers or {}).items()
    ]
    extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _inlined(body)}}}
    return extra


def _inlined(shape: type[BaseModel] | TypeAdapter[Any]) -> dict[str, Any]:
    """The JSON schema of `shape` without references: it has to stand inside another document."""
    schema = shape.json_schema() if isinstance(shape, TypeAdapter) else shape.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, list):
            return [inline(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inline(definitions[part["$ref"].rpartition("/")[2]])
        return {name: inline(value) for name, value in part.items()}

    inlined: dict[str, Any] = inline(schema)
    return inlined
