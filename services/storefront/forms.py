"""Form tokens: what makes the session cookie count for a form of ours, as JSON and the origin do for a request.

A token is signed for one user (or for visitors) and ends. It is bound to the user in the session cookie and not to
the cookie's text, because an issuer like Clerk renews that every minute while the form stays open.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
import time
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from fastapi import Request
from starlette.datastructures import FormData

from shared.auth import User, is_own_origin
from shared.errors import ApiError
from shared.settings import Settings

FIELD = "form_token"
LIFETIME = timedelta(hours=12)  # a tab left open overnight asks again
_SECRET_BYTES = 32


class Forms:
    """Mints and checks tokens with TILLROLL_FORM_SECRET, else with a secret kept in the data folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def mint(self, user: User | None) -> str:
        """A token for a form that is shown to `user`; None makes one for anybody, for forms that touch no account."""
        return self._sign(user, int(time.time() + LIFETIME.total_seconds()))

    def check(self, request: Request, form: FormData, user: User | None) -> None:
        """Raises ApiError 403 unless `form` is ours, sent by our own page and minted for `user`."""
        token = str(form.get(FIELD, ""))
        ends_at = token.partition(".")[0]
        is_minted = ends_at.isascii() and ends_at.isdigit() and int(ends_at[:12]) > time.time()
        if not (
            is_own_origin(request, self._settings.origins)
            and is_minted
            and hmac.compare_digest(token.encode(), self._sign(user, int(ends_at)).encode())
        ):
            raise ApiError(403, "This form has expired. Please go back, reload the page and try again.")

    def _sign(self, user: User | None, ends_at: int) -> str:
        subject = "visitor" if user is None else f"user {user.id}"
        return f"{ends_at}.{hmac.digest(self._secret, f'{ends_at} {subject}'.encode(), hashlib.sha256).hex()}"

    @cached_property
    def _secret(self) -> bytes:
        given = self._settings.form_secret
        return given.get_secret_value().encode() if given is not None else _kept_secret(self._settings.data_dir)


def _kept_secret(folder: Path) -> bytes:
    """The data folder's secret; of processes that race for the first one, all get the same."""
    kept = folder / "forms.key"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
        try:
            os.link(draft, kept)  # unlike a rename, fails when another process was first
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
    return kept.read_bytes()
