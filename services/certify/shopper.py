"""One shopper with one purchase: submits it as planned, retries as the first storefront does, notes every answer."""

import asyncio
import time
from collections.abc import Sequence
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

from services.certify.history import Answer, MoveAnswer
from services.certify.http_client import Door, NoAnswer, Response
from services.certify.plan import Move, MoveRequest, Protection, Purchase

if TYPE_CHECKING:
    from services.certify.load import Load

TIMEOUT = 8.0  # seconds, as are the waits: the first storefront's own
WAITS = (0.3, 0.6)
LAST_BARE = 18.0  # seconds after the first submission: what is sent later could land after the window's 30 s
_FILL_ATTEMPTS = 20  # an empty cart buys nothing, so the shopper insists


class Shopper:
    """Submits one purchase; knows its order's id from the first 2xx on."""

    def __init__(self, load: "Load", purchase: Purchase) -> None:
        self.purchase = purchase
        self.order_id: str | None = None
        self._load = load
        self._begun = 0.0
        self._has_begun = False
        self._decided = asyncio.Event()  # the purchase has begun, or never will
        self._headers = {"Authorization": f"Bearer {load.tokens[purchase.user]}"}
        if purchase.key is not None:
            self._headers["Idempotency-Key"] = purchase.key

    async def arrive(self) -> None:
        """Fills the cart, if the purchase has one, and submits for the first time."""
        try:
            if self.purchase.session is not None:
                cookie = await self._fill_cart()
                if cookie is None:
                    return  # left the shop before buying
                self._headers["Cookie"] = cookie
            self._begun, self._has_begun = time.monotonic(), True
            self._load.note_begin(self)
        finally:
            self._decided.set()
        await self.submit(self.purchase.submissions[0].door)

    async def stay(self, arrival: "asyncio.Task[None]") -> None:
        """The duplicates, which do not wait for the first answer, and the moves, which do."""
        await self._decided.wait()
        if not self._has_begun:
            return
        async with asyncio.TaskGroup() as group:
            for submission in self.purchase.submissions[1:]:
                group.create_task(self._submit_later(submission.door, submission.delay))
            await arrival
            if self.order_id is not None:
                for request in self.purchase.moves:
                    group.create_task(self._move(request, self.order_id))

    async def submit(self, door: int, phase: str = "") -> None:
        """POST, up to three times, each time through another door; every attempt is noted."""
        doors = self._load.checkouts
        body = {"total": float(self.purchase.total), "items": self.purchase.lines}
        waits = WAITS if self.purchase.is_patient or phase else ()
        for attempt, wait in enumerate((*waits, None)):
            if self._is_too_late():
                return
            answer = await self._attempt(doors[(door + attempt) % len(doors)], body, phase)
            self._load.history.answers.append(answer)
            self.order_id = self.order_id or answer.order_id
            if wait is None or answer.status not in (0, 429, 502, 503):
                return
            await asyncio.sleep(wait)

    def _is_too_late(self) -> bool:
        is_bare = self.purchase.protection is Protection.BARE
        return is_bare and time.monotonic() - self._begun > LAST_BARE

    async def _attempt(self, door: Door, body: object, phase: str) -> Answer:
        number, sent = self.purchase.number, time.monotonic()
        try:
            response = await self._load.send(door, "POST", "/api/orders", self._headers, body, TIMEOUT)
        except NoAnswer as fault:
            return Answer(number, door.name, sent, time.monotonic(), 0, None, str(fault), phase)
        order = response.data if response.status in (200, 201) else None
        return Answer(number, door.name, sent, time.monotonic(), response.status, order, _error(response), phase)

    async def _submit_later(self, door: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.submit(door)

    async def _move(self, request: MoveRequest, order_id: str) -> None:
        await asyncio.sleep(request.delay)
        doors: Sequence[Door] = self._load.gateways
        for attempt, wait in enumerate((*WAITS, None)):
            door = doors[(request.door + attempt) % len(doors)]
            if request.move is Move.PAID:
                call = self._load.send(door, "PATCH", "/api/orders", self._headers, {"id": order_id}, TIMEOUT)
            else:
                path = f"/api/orders/{order_id}/cancel"
                call = self._load.send(door, "POST", path, self._headers, None, TIMEOUT)
            try:
                response = await call
            except NoAnswer:
                status, order = 0, None
            else:
                status, order = response.status, response.data
            self._load.history.moves.append(
                MoveAnswer(self.purchase.number, order_id, request.move, door.name, status, order)
            )
            if wait is None or status not in (0, 429, 502, 503):
                return
            await asyncio.sleep(wait)

    async def _fill_cart(self) -> str | None:
        doors = self._load.gateways
        for attempt in range(_FILL_ATTEMPTS):
            door = doors[(self.purchase.number + attempt) % len(doors)]
            path = f"/api/cart/{self.purchase.session}"
            try:
                response = await self._load.send(door, "PUT", path, {}, {"items": self.purchase.lines}, TIMEOUT)
            except NoAnswer:
                response = None
            if response is not None and response.status == 200:
                cookie = SimpleCookie(response.headers.get("set-cookie", ""))
                return "; ".join(f"{name}={morsel.value}" for name, morsel in cookie.items())
            await asyncio.sleep(0.5)
        return None


def _error(response: Response) -> str | None:
    return str(response.body.get("error"))[:200] if isinstance(response.body, dict) else None
