"""POST /api/graphql: guard, validation, execution, and the contract's envelopes. Every error but an outage is 400."""

from inspect import isawaitable
from typing import Any

import pydantic_core
from fastapi import APIRouter, Request, Response
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
    validate,
)
from pydantic import BaseModel

from services.storefront.graphql_guard import parse_guarded
from services.storefront.graphql_resolvers import Exchange, load_schema
from shared.errors import ApiError
from shared.http import json_response
from shared.openapi import takes

WORTH_A_RETRY = (429, 503)  # the first storefront retries exactly these, and only by their status
MAX_FAULTS = 10  # that one answer lists
MAX_MESSAGE = 500  # characters: some quote what was sent, indented

router = APIRouter(tags=["graphql"])


class _Query(BaseModel):
    """The body, for the document alone."""

    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815  # GraphQL's own spelling


@router.post(
    "/api/graphql",
    responses={400: {"description": "Errors"}, 503: {"description": "Unknown, retry is safe"}},
    openapi_extra=takes(body=_Query),
)
async def graphql(request: Request) -> Response:
    """Runs one query or mutation; the schema is services/storefront/schema.graphql."""
    try:
        query, variables, operation = _read(await request.body())
        document = parse_guarded(query)
    except ApiError as fault:
        if fault.status != 400:
            raise
        return json_response({"errors": [{"message": fault.text}]}, 400)
    exchange = Exchange(request)
    response = _answer(document, await _run(document, variables, operation, exchange))
    for answer in exchange.answers:
        answer.pass_on(response)
    return response


def _read(body: bytes) -> tuple[str, dict[str, Any], str | None]:
    try:
        sent = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as fault:
        raise ApiError(400, "Missing GraphQL query") from fault
    query = sent.get("query") if isinstance(sent, dict) else None
    if not isinstance(query, str) or not query.strip():
        raise ApiError(400, "Missing GraphQL query")
    variables, operation = sent.get("variables"), sent.get("operationName")
    if not isinstance(variables, dict | None) or not isinstance(operation, str | None):
        raise ApiError(400, "Invalid GraphQL query")
    return query, variables or {}, operation


async def _run(
    document: DocumentNode, variables: dict[str, Any], operation: str | None, exchange: Exchange
) -> ExecutionResult:
    schema = load_schema()
    faults = validate(schema, document, max_errors=MAX_FAULTS, allow_empty_selection_sets=False)
    if faults:
        return ExecutionResult(None, faults)
    result = execute(schema, document, context_value=exchange, variable_values=variables, operation_name=operation)
    return await result if isawaitable(result) else result


def _answer(document: DocumentNode, result: ExecutionResult) -> Response:
    if not result.errors:
        return json_response({"data": result.data})
    causes = [fault.original_error for fault in result.errors]
    outage = next((cause for cause in causes if isinstance(cause, ApiError) and cause.status in WORTH_A_RETRY), None)
    if outage is not None:
        return json_response(
            {"errors": [{"message": outage.text}], "data": None}, outage.status, {"Retry-After": "1"} | outage.headers
        )
    for cause in causes:
        if cause is not None and not isinstance(cause, ApiError | GraphQLError):
            raise cause  # a fault of ours, not of the query
    messages = [{"message": _message(fault)} for fault in result.errors]
    if result.data is None and not _is_mutation(document):
        return json_response({"errors": messages}, 400)
    return json_response({"errors": messages, "data": result.data}, 400)


def _message(fault: GraphQLError) -> str:
    cause = fault.original_error
    return cause.text if isinstance(cause, ApiError) else fault.message[:MAX_MESSAGE]


def _is_mutation(document: DocumentNode) -> bool:
    return any(
        isinstance(definition, OperationDefinitionNode) and definition.operation is OperationType.MUTATION
        for definition in document.definitions
    )
