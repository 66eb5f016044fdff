"""Requests that a machine invents from the OpenAPI document: no route fails, each answers what it documents.

TILLROLL_FUZZ_EXAMPLES asks for more of them than the few that are always the same.
"""

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import BaseRoute

from services.gateway.document import public_document
from services.gateway.routes import ROUTERS
from tests.contract.place import Place
from tests.contract.shopper import Shopper

EXAMPLES = int(os.environ.get("TILLROLL_FUZZ_EXAMPLES", "0"))
ENDLESS = {"GET /api/orders/events", "GET /api/admin/operations/overview/live"}
"""Their answers have no end to wait for; test_order_events.py and test_overview.py read them."""
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def _documented() -> Iterator[str]:
    routes: list[BaseRoute] = [route for routers in ROUTERS.values() for router in routers for route in router.routes]
    for route in routes:
        if getattr(route, "include_in_schema", False):
            yield from (f"{method} {route.path}" for method in sorted(route.methods))


@pytest.fixture(scope="module")
def operations() -> dict[str, APIOperation]:
    schema = schemathesis.openapi.from_dict(public_document())
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def test_every_public_operation_is_documented(operations: dict[str, APIOperation]) -> None:
    assert {label.replace(":whole}", "}") for label in _documented()} == operations.keys()


@pytest.mark.parametrize("label", sorted({label.replace(":whole}", "}") for label in _documented()} - ENDLESS))
def test_no_invented_request_makes_it_fail_or_answer_what_it_does_not_document(
    place: Place, operations: dict[str, APIOperation], anna: Shopper, admin: Shopper, visitor: Shopper, label: str
) -> None:
    operation = operations[label]
    callers = st.sampled_from([admin, anna, visitor])
    cases = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )

    @given(case=cases, caller=callers)
    @hypothesis_settings(
        max_examples=EXAMPLES or 12,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: schemathesis.Case, caller: Shopper) -> None:
        headers = {"Authorization": f"Bearer {caller.token}"} if caller.token else {}
        response = case.call(base_url=place.url, headers=headers, allow_redirects=False)
        is_switched_off = response.status_code == 503 and "not configured" in response.text  # no Stripe here
        assert response.status_code < 500 or is_switched_off, f"{response.status_code}: {response.text[:500]}"
        case.validate_response(response, checks=CHECKS)

    holds()
