"""Deep-diff: what every route of the contract answers, in success and in failure, equals the golden answers.

tests/contract/golden/*.json are written by hand to the contract, never recorded: an answer that differs is wrong, or
the contract has changed and storefronts in production break.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.gateway.routes import public_routes
from tests.contract.golden import HEADERS, Differs, Names, cookie_of, stripe_signature
from tests.contract.place import Place
from tests.contract.shopper import LIMIT, Shopper
from tests.contract.test_outages import away
from tests.servers import wait_until

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
NOT_OF_THE_FIRST_STOREFRONT = ("/api/admin/operations/", "/api/orders/events", "/api/checkout/", "/api/openapi.json")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_answers_are_the_golden_ones(request: pytest.FixtureRequest, place: Place, path: Path) -> None:
    scenario = json.loads(path.read_text())
    needs = scenario.get("needs", [])
    if needs and place.servers is None:
        pytest.skip(f"--base-url: its {', '.join(needs)} cannot be arranged from here")
    people = {name: Shopper(place, name) for name in ("anna", "bob")}
    people |= {"visitor": Shopper(place, None), "olga": Shopper(place, "olga", is_admin=True)}
    names = Names()
    for name, shopper in people.items():
        names.know(f"<user:{name}>", shopper.user or "")
        names.know(f"<token:{name}>", shopper.token or "")
    with ExitStack() as stack:
        for number, step in enumerate(scenario["steps"], start=1):
            if "without" in step:
                assert place.servers is not None
                stack.enter_context(away(getattr(place.servers, step["without"]), people["bob"]))
                continue
            try:
                _take(step, people[step["as"]], names)
            except Differs as difference:
                pytest.fail(f"{path.name}, step {number}, {step['send']}: {difference}")


def _take(step: dict[str, Any], shopper: Shopper, names: Names) -> None:
    method, _, target = names.fill(step["send"]).partition(" ")
    body = names.fill(step["raw"]).encode() if "raw" in step else names.fill(step.get("body"))
    if step.get("too_large"):
        body = b'{"items":[]' + b" " * LIMIT + b"}"
    headers = names.fill(step.get("headers", {}))
    if "signed" in step:
        headers["stripe-signature"] = stripe_signature(body)

    def is_golden() -> bool:
        try:
            _compare(step, names, shopper.send(method, target, body, headers))
        except Differs:
            return False
        return True

    if step.get("until"):  # what the consumer records, a moment later
        wait_until(is_golden, f"{step['send']} answers {step['answer']}")
    else:
        _compare(step, names, shopper.send(method, target, body, headers))


def _compare(step: dict[str, Any], names: Names, found: httpx.Response) -> None:
    if found.status_code != step["status"]:
        raise Differs(f"{found.status_code} instead of {step['status']}: {found.text}")
    names.compare(step["answer"], found.json())
    wanted = step.get("has", {})
    shown = {name: found.headers[name] for name in {*HEADERS, *wanted} if name in found.headers}
    if "Set-Cookie" in shown:
        shown["Set-Cookie"] = cookie_of(shown["Set-Cookie"])
    names.compare(wanted, shown, "headers")
    names.compare("application/json", found.headers["Content-Type"], "Content-Type")


def test_every_route_of_the_contract_has_golden_answers_in_success_and_in_failure() -> None:
    shown: dict[str, set[bool]] = {}
    for path in GOLDEN:
        for step in json.loads(path.read_text())["steps"]:
            if "send" in step:
                shown.setdefault(_route_of(step["send"]), set()).add(step["status"] < 400)
    for route in public_routes():
        if route.path.startswith("/api/") and not route.path.startswith(NOT_OF_THE_FIRST_STOREFRONT):
            assert shown.get(f"{route.method} {route.path}") == {True, False}, route


def _route_of(send: str) -> str:
    method, _, target = send.partition(" ")
    path = target.partition("?")[0]
    for route in public_routes():
        pattern = route.path.replace(":whole}", "}").split("/")
        parts = path.split("/")
        is_same = len(pattern) == len(parts) and all(
            one == other or one.startswith("{") for one, other in zip(pattern, parts, strict=True)
        )
        if route.method == method and is_same:
            return f"{route.method} {route.path}"
    return send
