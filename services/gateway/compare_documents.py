"""What a client of one OpenAPI document would miss in another. Reads the two documents and nothing else."""

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def breaking_changes(published: Document, present: Document) -> list[str]:
    """One sentence for each promise of `published` that `present` does not keep; additions are no breach."""
    return [
        *_missing_operations(published, present),
        *_changed_schemas(published["components"]["schemas"], present["components"]["schemas"], _taken(present)),
    ]


def _missing_operations(published: Document, present: Document) -> Iterator[str]:
    for path, methods in published["paths"].items():
        for method, old in methods.items():
            label = f"{method.upper()} {path}"
            new = present["paths"].get(path, {}).get(method)
            if new is None:
                yield f"{label} is gone"
                continue
            for status, answer in old["responses"].items():
                if status not in new["responses"]:
                    yield f"{label} no longer answers {status}"
                elif (told := _body_of(answer)) != (tells := _body_of(new["responses"][status])):
                    yield f"{label} answers {status} with {tells} instead of {told}"
            yield from _changed_parameters(label, old, new)
            if _body_of(old.get("requestBody", {})) != _body_of(new.get("requestBody", {})):
                yield f"{label} takes another body"


def _changed_parameters(label: str, old: Document, new: Document) -> Iterator[str]:
    before, after = ({part["name"]: part for part in side.get("parameters", ())} for side in (old, new))
    for name in before.keys() - after.keys():
        yield f"{label} no longer takes {name}"
    for name, part in after.items():
        if part.get("required") and not before.get(name, {}).get("required"):
            yield f"{label} now demands {name}"


def _changed_schemas(published: Document, present: Document, taken: set[str]) -> Iterator[str]:
    for name, old in published.items():
        new = present.get(name)
        if new is None:
            yield f"{name} is gone"
            continue
        before, after = old.get("properties", {}), new.get("properties", {})
        for member in before:
            if member not in after:
                yield f"{name}.{member} is gone"
            elif _kind_of(before[member]) != _kind_of(after[member]):
                yield f"{name}.{member} is of another kind"
        was, now = set(old.get("required", ())), set(new.get("required", ()))
        if name in taken:
            yield from (f"{name}.{member} is demanded now" for member in sorted(now - was))
        yield from (f"{name}.{member} may be missing now" for member in sorted((was - now) & after.keys()))
        if old.get("enum") != new.get("enum"):
            yield f"{name} has other values"


def _body_of(part: Document) -> Any:
    return {kind: content.get("schema") for kind, content in part.get("content", {}).items()}


def _kind_of(schema: Document) -> Any:
    """What a client's types are made from; bounds and descriptions are not."""
    kept = ("type", "format", "$ref", "enum", "const", "anyOf", "items")
    found = {name: schema[name] for name in kept if name in schema}
    if "items" in found:
        found["items"] = _kind_of(found["items"])
    if "anyOf" in found:
        found["anyOf"] = [_kind_of(part) for part in found["anyOf"]]
    return found


def _taken(document: Document) -> set[str]:
    """The names of schemas that are sent to us."""
    bodies = (
        operation.get("requestBody", {}) for methods in document["paths"].values() for operation in methods.values()
    )
    refs = (content["schema"].get("$ref", "") for body in bodies for content in body.get("content", {}).values())
    return {ref.rpartition("/")[2] for ref in refs} | {"CartItem"}
