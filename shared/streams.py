"""Keys and fields that two services must agree on in Redis. Spells shapes; runs no command but the script loader.

Every key carries the partition tag `{0}`: a script's keys live in one slot, and one partition pays nothing for it.
Users are named by a digest, so that no key holds an e-mail address.
"""

import hashlib
from uuid import UUID

PARTITION = "{0}"
STREAM = f"till:{PARTITION}:events"
GROUP = "orders"

NAMES_LOADED = f"till:{PARTITION}:names-loaded"
"""Marker: the names of past checkouts are all in Redis. Absent after a loss; nothing new is accepted without it."""

INTAKE_PAUSED = f"till:{PARTITION}:intake-paused"
"""Reason for which the consumer takes in nothing more, until an operator deletes it (`tillroll resume`)."""

LONE_ATTEMPTS = f"till:{PARTITION}:lone-attempts"
"""Hash entry id -> times that entry was tried alone. Survives the consumer that it kills."""

DUPLICATES = f"till:{PARTITION}:duplicates"
"""Hash kind of name -> submissions answered with an order that was known, over all processes, since Redis began."""

NAME_KINDS = ("key", "cart", "window", "payment")
"""By which name an order can be known."""

EVENT_ID, PAYLOAD, ACCEPTED_AT = "event_id", "payload", "accepted_at"
"""The fields of an entry: UUID text, event JSON, Redis TIME of the acceptance in milliseconds."""

TRACEPARENT = "traceparent"
"""One more field, of traced entries alone: the span that accepted it, as W3C's header has it. Nothing depends on it."""


def user_digest(user_id: str) -> str:
    """32 hex digits that stand for a user in key names and in records."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]


def overlay_key(user_id: str) -> str:
    """Hash event id -> `{"accepted_at": ms, "event": {...}}`: accepted for this user, not yet recorded."""
    return overlay_key_of(user_digest(user_id))


def overlay_key_of(digest: str) -> str:
    """The same, for who knows the user's digest alone."""
    return f"till:{PARTITION}:accepted:{digest}"


def order_key(order_id: UUID | str) -> str:
    """Hash of an order within the identity horizon: user (digest), fingerprint, key, status, accepted_at, payload."""
    return f"till:{PARTITION}:order:{order_id}"


def name_key(name: UUID | str) -> str:
    """String: the event id of the checkout that bears this name."""
    return f"till:{PARTITION}:name:{name}"
