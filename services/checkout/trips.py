"""The calls of checkout's scripts about one submission: what is known of it, as their keys and arguments."""

from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from services.cart.model import ITEMS, Cart, content
from services.cart.store import CART_TTL, bought_tail, cart_key
from services.checkout.plan import Learnt, Plan
from services.checkout.submission import Reserve, Settle
from shared.events import CheckoutCompleted, KeyJoined, encode, event_id_of
from shared.redis import Script
from shared.settings import Settings
from shared.streams import DUPLICATES, NAMES_LOADED, STREAM, name_key, order_key, overlay_key
from shared.tracing import traceparent

_ACCEPT = Script("services.checkout", "accept_order.lua")
_JOIN = Script("services.checkout", "join_key.lua")
_MEET = Script("services.checkout", "meet_order.lua")


async def try_plan(
    redis: Redis,
    settings: Settings,
    learnt: Learnt,
    plan: Plan,
    event: CheckoutCompleted | None,
    purpose: Reserve | Settle | None,
) -> Any:
    """The raw answer of accept_order.lua. `event` None: nothing new can come of this call."""
    named, reserved = learnt.named_cart, learnt.reserved
    keys = [
        NAMES_LOADED,
        STREAM,
        overlay_key(learnt.submission.user_id),
        order_key(plan.event_id or (reserved.order_id if reserved else learnt.window)),
        name_key(learnt.window),
        *map(name_key, plan.names),
    ]
    if named is not None:
        keys.append(cart_key(named.session))
    window = "consult" if plan.consults_window else "bind"
    cart, left = learnt.cart or Cart(), plan.left
    is_first = plan.expected_content is not None
    generation = named.generation if named and is_first else cart.generation
    paid = purpose if isinstance(purpose, Settle) else None
    return await _ACCEPT.run(
        redis,
        keys,
        [
            len(plan.names),
            plan.consulted,
            window if settings.keyless_window else "off",
            " ".join(map(str, learnt.passed_over)),
            str(plan.event_id) if event else "",
            encode(event) if event else b"",
            learnt.user,
            learnt.print,
            str(learnt.key or ""),
            int(settings.identity_horizon.total_seconds() * 1000),
            int(settings.window.total_seconds() * 1000),
            "content" if is_first else "version",
            generation or "",
            plan.expected_content if plan.expected_content is not None else cart.version,
            ITEMS.dump_json(left) if left is not None else b"",
            content(left) if left is not None else "",
            int(CART_TTL.total_seconds() * 1000),
            bought_tail(plan.event_id or learnt.window, learnt.user, learnt.content),
            " ".join(map(str, learnt.living)),
            " ".join(map(str, learnt.ended)),
            traceparent(),
            plan.names.index(learnt.slot) + 1,
            str(reserved.order_id) if reserved else "",
            purpose.ms if isinstance(purpose, Reserve) else "",
            str(named or ""),
            paid.session if paid else "",
            str(paid.event_id) if paid else "",
            paid.payload if paid else b"",
        ],
    )


async def meet_order(
    redis: Redis, learnt: Learnt, order_id: UUID, known_by: str, *, is_submission: bool
) -> list[bytes | None]:
    """What meet_order.lua reads of the order's record; a submission is counted as its duplicate."""
    args = [known_by, learnt.print, str(learnt.own_key or ""), "" if is_submission else "1"]
    return list(await _MEET.run(redis, [order_key(order_id), DUPLICATES], args))


async def join_key(redis: Redis, settings: Settings, learnt: Learnt, order_id: UUID) -> bool:
    """Binds the new key to a checkout that has none; False when something changed since it was read."""
    submission = learnt.submission
    assert learnt.own_key is not None
    assert submission.key is not None
    event = KeyJoined(user_id=submission.user_id, order_id=order_id, key=learnt.own_key)
    joined = await _JOIN.run(
        redis,
        [NAMES_LOADED, STREAM, overlay_key(submission.user_id), order_key(order_id), name_key(learnt.own_key)],
        [
            str(event_id_of("join", submission.user_id, submission.key)),
            encode(event),
            str(learnt.own_key),
            int(settings.identity_horizon.total_seconds() * 1000),
            str(order_id),
            traceparent(),
        ],
    )
    return bool(joined == b"joined")
