"""What a GraphQL document may cost, judged before anybody is asked who sent it. Pure; knows no field by name.

Fragments are counted wherever they are spread, each measured once, so that neither the limits nor the measuring can
be defeated by spreading them in each other. Introspection is held by the depth and by graphql-core's own rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
)

from shared.errors import ApiError

MAX_LENGTH = 2000  # UTF-16 units, as JavaScript counts
MAX_DEPTH = 10  # nested fields
MAX_ALIASES = 10  # each may be one more order, or one more read of the same list
MAX_FIELDS = 200  # in all; the whole schema has 25, and validation compares each with each


def parse_guarded(query: str) -> DocumentNode:
    """The parsed query; raises ApiError 400 with the contract's text."""
    if len(query.encode("utf-16-le", "surrogatepass")) // 2 > MAX_LENGTH:
        raise ApiError(400, f"Query exceeds maximum length of {MAX_LENGTH}")
    try:
        document = parse(query, no_location=True, allow_empty_selection_sets=False)
    except GraphQLError as fault:
        if "nested too deeply" in fault.message:  # the parser gave up, and has nothing to measure
            raise _too_deep() from fault
        raise ApiError(400, "Invalid GraphQL query") from fault
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    measured: dict[str, _Size] = {}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            _check(_measure(definition.selection_set, fragments, measured))
    return document


@dataclass(frozen=True)
class _Size:
    depth: int = 0
    aliases: int = 0
    fields: int = 0


def _check(size: _Size) -> None:
    if size.depth > MAX_DEPTH:
        raise _too_deep()
    if size.aliases > MAX_ALIASES:
        raise ApiError(400, f"Query exceeds maximum of {MAX_ALIASES} aliases")
    if size.fields > MAX_FIELDS:
        raise ApiError(400, f"Query exceeds maximum of {MAX_FIELDS} fields")


def _too_deep() -> ApiError:
    return ApiError(400, f"Query exceeds maximum depth of {MAX_DEPTH}")


def _measure(
    selected: SelectionSetNode | None,
    fragments: Mapping[str, FragmentDefinitionNode],
    measured: dict[str, _Size],
) -> _Size:
    depth = aliases = fields = 0
    for node in selected.selections if selected is not None else ():
        match node:
            case FieldNode():
                inner = _measure(node.selection_set, fragments, measured)
                inner = _Size(inner.depth + 1, inner.aliases + (node.alias is not None), inner.fields + 1)
            case InlineFragmentNode():
                inner = _measure(node.selection_set, fragments, measured)
            case FragmentSpreadNode():
                inner = _measure_fragment(node.name.value, fragments, measured)
            case _:
                raise AssertionError(node)
        depth, aliases, fields = max(depth, inner.depth), aliases + inner.aliases, fields + inner.fields
    return _Size(depth, aliases, fields)


def _measure_fragment(name: str, fragments: Mapping[str, FragmentDefinitionNode], measured: dict[str, _Size]) -> _Size:
    """An unknown fragment and one that is spread in itself count as nothing: validation refuses the document."""
    if name not in measured:
        measured[name] = _Size()
        definition = fragments.get(name)
        measured[name] = _measure(definition.selection_set if definition else None, fragments, measured)
    return measured[name]
