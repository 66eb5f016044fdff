"""What can go wrong, sorted by fate. Owns the exception tree; renders nothing (shared/http.py does).

TillrollError
├── ApiError            the client's to fix: a status code and the contract's text
├── Unavailable         an outage: nothing was done that is not safe to repeat
└── Unrecordable        an entry that can never succeed: becomes a dead letter with its reason
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

RETRY_AFTER = timedelta(seconds=1)  # the first storefront ignores it; honest clients need a hint below their time-out


class TillrollError(Exception):
    """Everything this product raises on purpose."""


class ApiError(TillrollError):
    """An answer of the public contract: `{"error": text}` plus further members."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})
        self.members = members


class Unavailable(ApiError):
    """503: the outcome is unknown or nothing happened; sending the same request again is safe."""

    def __init__(self, text: str) -> None:
        super().__init__(503, text, {"Retry-After": str(int(RETRY_AFTER.total_seconds()))})


class Unrecordable(TillrollError):
    """An entry that no retry can save. `reason` is one of the fixed words that dead letters are filtered by."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
