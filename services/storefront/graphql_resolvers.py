"""The GraphQL schema over the REST API: every rule is REST's, this file only translates. Decides nothing itself."""

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from ariadne import MutationType, QueryType, make_executable_schema
from fastapi import Request
from graphql import GraphQLResolveInfo, GraphQLSchema

from services.storefront.api import Answer, Api
from shared.errors import ApiError

_KEY_TEXTS = {"Invalid Idempotency-Key header": "Invalid Idempotency-Key"}

query = QueryType()
mutation = MutationType()


@dataclass
class Exchange:
    """One GraphQL request, and the answers of the API that it caused."""

    request: Request
    answers: list[Answer] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The data that the API answers to the sender of the request; raises as Api.call does."""
        api: Api = self.request.app.state.api
        answer = await api.call(self.request, method, path, body, headers=headers)
        self.answers.append(answer)
        return answer.data


Info = GraphQLResolveInfo[Exchange]


@lru_cache(maxsize=1)
def load_schema() -> GraphQLSchema:
    """The contract's SDL bound to the resolvers."""
    return make_executable_schema(files(__package__).joinpath("schema.graphql").read_text(), query, mutation)


@query.field("products")
async def list_products(_root: None, info: Info) -> Any:
    """GET /api/products."""
    return await info.context.call("GET", "/api/products")


@query.field("product")
async def show_product(_root: None, info: Info, id: str) -> Any:
    """GET /api/products/{id}; null for an unknown one."""
    try:
        return await info.context.call("GET", f"/api/products/{_segment(id)}")
    except ApiError as fault:
        if fault.status in (400, 404):
            return None
        raise


@query.field("orders")
async def list_orders(_root: None, info: Info) -> Any:
    """GET /api/orders; none for a visitor."""
    exchange = info.context
    # Asked here because the read that follows is a GET: it would not hold the cookie to the rule for a POST.
    if await exchange.request.app.state.verifier.find_user(exchange.request) is None:
        return []
    try:
        return await exchange.call("GET", "/api/orders")
    except ApiError as fault:
        if fault.status == 401:
            return []
        raise


@mutation.field("createOrder")
async def create_order(
    _root: None,
    info: Info,
    total: float,
    items: list[dict[str, Any]],
    idempotencyKey: str | None = None,  # noqa: N803  # the SDL's name
) -> Any:
    """POST /api/orders; the argument wins over the header, a blank argument is none."""
    key = (idempotencyKey or "").strip()
    # Quoting leaves a valid key as it is, and makes of any other a header that can be sent and is refused.
    headers = {"Idempotency-Key": quote(key, safe="", errors="replace")} if key else None
    try:
        return await info.context.call("POST", "/api/orders", {"total": total, "items": items}, headers)
    except ApiError as fault:
        raise ApiError(fault.status, _KEY_TEXTS.get(fault.text, fault.text), fault.headers) from fault


def _segment(text: str) -> str:
    """One segment of a path, whatever is in it: a dot could be taken for a step of the way."""
    return quote(text, safe="", errors="replace").replace(".", "%2E")
