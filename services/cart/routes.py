"""The cart's two public routes. The session id is the capability: no user, no token."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from services.cart.model import COOKIE, Cart, CartItem, CartItems, parse_session
from services.cart.store import Echo, Stale, Stored, get_cart, put_cart
from shared.errors import ApiError, Unavailable
from shared.http import data_response
from shared.observability import SHED
from shared.openapi import refusals, takes
from shared.redis import redis_or_unavailable

COOKIE_DAYS = 30
_AWAY = "The cart is unavailable right now, please retry"
_NO_ROOM = "There is no room for more carts right now, please retry"
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}

router = APIRouter(tags=["cart"])


class CartBody(BaseModel):
    """`{items}`; extra members are dropped."""

    model_config = ConfigDict(extra="ignore")

    items: CartItems


_BODY = TypeAdapter(CartBody)


@router.get("/api/cart/{session_id}", responses=refusals({400: "Invalid session id"}))
async def read_cart(request: Request, session_id: str) -> Response:
    """The items of the cart, `[]` when there is none. Does not prolong its day."""
    session = _session(session_id)
    async with redis_or_unavailable(_AWAY):
        cart = await get_cart(request.app.state.redis, session)
    return _answer(cart, cart.items)


@router.put(
    "/api/cart/{session_id}",
    responses=refusals({400: "Invalid session id, or invalid cart payload", 412: "The cart has changed"}),
    openapi_extra=takes(body=CartBody, headers={"If-Match": "the ETag of the cart that was read"}),
)
async def replace_cart(request: Request, session_id: str) -> Response:
    """Replaces the cart for 24 hours; `If-Match` makes it fail with 412 when somebody changed it meanwhile."""
    session = _session(session_id)
    state = request.app.state
    try:
        items = _BODY.validate_json(await request.body()).items
    except ValidationError as fault:
        raise ApiError(400, "Invalid cart payload") from fault
    if any(state.catalog.get(item.id) is None for item in items):
        raise ApiError(400, "Invalid cart payload")
    async with redis_or_unavailable(_AWAY):
        if items and await state.room.is_short():  # an emptied cart makes room
            SHED.labels("memory").inc()
            raise Unavailable(_NO_ROOM)
        outcome = await put_cart(state.redis, session, items, state.settings.window, request.headers.get("If-Match"))
    match outcome:
        case Stale(cart):
            raise ApiError(412, "The cart has changed", {"ETag": cart.etag})
        case Stored(cart) | Echo(cart):
            response = _answer(cart, items)
    if items:
        _set_cookie(request, response, session, cart)
    return response


def _session(text: str) -> str:
    session = parse_session(text)
    if session is None:
        raise ApiError(400, "Invalid session id")
    return session


def _answer(cart: Cart, items: tuple[CartItem, ...]) -> Response:
    return data_response([item.model_dump() for item in items], headers={"ETag": cart.etag})


def _set_cookie(request: Request, response: Response, session: str, cart: Cart) -> None:
    is_local = request.url.scheme == "http" and request.url.hostname in _LOCAL_HOSTS
    response.set_cookie(
        COOKIE,
        f"{session}.{cart.generation}" if cart.generation else session,
        max_age=COOKIE_DAYS * 86_400,
        path="/",
        secure=not is_local,
        httponly=True,
        samesite="lax",
    )
