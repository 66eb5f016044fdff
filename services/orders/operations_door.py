"""What every door of the operators does alike: who may come in, what was asked, and in whose name it is done."""

from typing import Annotated, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.orders.audit import Operator
from shared.auth import User, require_operator, require_viewer
from shared.errors import ApiError
from shared.openapi import refusals

MAX_PAGE = 500
AWAY = "Operations are not possible right now"
REFUSALS = refusals({400: "Invalid request", 401: "Unauthorized", 403: "Operator access required"})
UNKNOWN, NOT_NOW = {404: "There is none of that id"}, {409: "Not in its present state"}

Shape = TypeVar("Shape", bound=BaseModel)


class Wire(BaseModel):
    """Base of what operators send."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Why(Wire):
    """A body that gives a reason; `Operator` checks it."""

    why: str


class Page(Wire):
    """Which part of a list: `before` is the last number of the page before."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    before: Annotated[int, Field(ge=1, le=2**62)] | None = None


async def let_viewer_in(request: Request) -> User:
    """Whoever may look; raises the contract's 401 and a 403."""
    user: User = await request.app.state.verifier.authenticate(request)
    require_viewer(user)
    return user


async def let_operator_in(request: Request) -> User:
    """Whoever may act; raises the contract's 401 and a 403."""
    user: User = await request.app.state.verifier.authenticate(request)
    require_operator(user)
    return user


def acting(user: User, why: str) -> Operator:
    """The user as the audit trail knows it; raises ApiError(400) without a reason."""
    return Operator(user.id, "http", why)


def page_in(request: Request, shape: type[Shape]) -> Shape:
    """The page that the query string asks for; an empty value is none, as a form sends it."""
    given = {name: value for name, value in request.query_params.items() if value and name in shape.model_fields}
    return _shaped(shape, given)


def filters_in(request: Request, shape: type[Shape], page: type[BaseModel]) -> Shape:
    """The rest of the query string; raises ApiError(400) for a filter that there is not."""
    given = {name: value for name, value in request.query_params.items() if value and name not in page.model_fields}
    return _shaped(shape, given)


async def body_in(request: Request, shape: type[Shape]) -> Shape:
    """The JSON body; raises ApiError(400) that says what is wrong with it."""
    try:
        return shape.model_validate_json(await request.body())
    except ValidationError as fault:
        raise _invalid(fault) from fault


def _shaped(shape: type[Shape], given: dict[str, str]) -> Shape:
    try:
        return shape.model_validate(given)
    except ValidationError as fault:
        raise _invalid(fault) from fault


def _invalid(fault: ValidationError) -> ApiError:
    told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in fault.errors(include_url=False))
    return ApiError(400, f"Invalid request: {told}"[:1000])
