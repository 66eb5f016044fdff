"""POST /api/graphql, word for word: the golden answers, and one rule set with REST."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from tests.contract.shopper import (
    HEADPHONES,
    KEYBOARD,
    LIMIT,
    MALFORMED_BODIES,
    MOUSE_PAD,
    PRICES,
    Items,
    Shopper,
    a_key,
    a_session,
    assert_data,
    line,
    named,
    worth,
)

CREATE = """mutation Create($total: Float!, $items: [CartItemInput!]!, $key: String) {
  createOrder(total: $total, items: $items, idempotencyKey: $key) { id total date status items { id quantity } }
}"""
SHAPE = {"id", "total", "date", "status", "items"}


def ask(
    shopper: Shopper, query: Any, variables: Any = None, headers: Mapping[str, Any] | None = None
) -> httpx.Response:
    """One GraphQL request."""
    body = {"query": query} if variables is None else {"query": query, "variables": variables}
    return shopper.send("POST", "/api/graphql", body, headers)


def create(shopper: Shopper, items: Items, total: Any = None, key: Any = None, **headers: Any) -> httpx.Response:
    """The first storefront's createOrder."""
    variables = {"items": items, "total": worth(items) if total is None else total, "key": key}
    return ask(shopper, CREATE, variables, {name.replace("_", "-"): value for name, value in headers.items()})


def created(answer: httpx.Response) -> dict[str, Any]:
    order: dict[str, Any] = assert_data(answer)["createOrder"]
    return order


def refused(answer: httpx.Response, text: str, status: int = 400) -> None:
    """createOrder's refusal: 400, the one text, and no data."""
    assert (answer.status_code, answer.json()) == (status, {"errors": [{"message": text}], "data": None})


def fields(depth: int) -> str:
    """`depth` nested fields."""
    return "{" + "a{" * (depth - 1) + "a" + "}" * depth


DEEP_BY_FRAGMENTS = "{...A} fragment A on Query{b{b{b{b{b{...B}}}}}} fragment B on Query{b{b{b{b{b{b}}}}}}"
DOUBLING = "{...A0}" + "".join(f"fragment A{i} on Query{{...A{i + 1} ...A{i + 1}}}" for i in range(40))


@pytest.mark.parametrize(
    "body", [*MALFORMED_BODIES, b"{}", b'{"query":null}', b'{"query":""}', b'{"query":7}'], ids=named
)
def test_a_body_without_a_query_says_so(visitor: Shopper, body: bytes) -> None:
    answer = visitor.send("POST", "/api/graphql", body)
    assert (answer.status_code, answer.json()) == (400, {"errors": [{"message": "Missing GraphQL query"}]})


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("{products{id}}" + " " * 1987, "Query exceeds maximum length of 2000"),
        ("{products{id}}#" + "\N{HEADPHONE}" * 993, "Query exceeds maximum length of 2000"),
        ("{" * 2001, "Query exceeds maximum length of 2000"),
        ("{products{id}", "Invalid GraphQL query"),
        ("{}", "Invalid GraphQL query"),
        ("products", "Invalid GraphQL query"),
        ("#", "Invalid GraphQL query"),
        (fields(11), "Query exceeds maximum depth of 10"),
        (fields(600), "Query exceeds maximum depth of 10"),
        ("mutation" + fields(11), "Query exceeds maximum depth of 10"),
        (DEEP_BY_FRAGMENTS, "Query exceeds maximum depth of 10"),
        ("{" + "".join(f"p{i}:products{{id}} " for i in range(11)) + "}", "Query exceeds maximum of 10 aliases"),
        ("{" + "...A " * 11 + "} fragment A on Query{p:products{id}}", "Query exceeds maximum of 10 aliases"),
        (DOUBLING + "fragment A40 on Query{products{id}}", "Query exceeds maximum of 200 fields"),
    ],
    ids=named,
)
def test_a_query_too_costly_is_refused_before_anybody_is_asked_who_they_are(
    visitor: Shopper, anna: Shopper, query: str, text: str
) -> None:
    for shopper in (visitor, anna):
        answer = ask(shopper, query)
        assert (answer.status_code, answer.json()) == (400, {"errors": [{"message": text}]})


@pytest.mark.parametrize(
    "query",
    [
        "{products{id}}" + " " * 1986,
        "{products{id}}#" + "\N{HEADPHONE}" * 992,
        "{" + "".join(f"p{i}:products{{id}} " for i in range(10)) + "}",
        "{" + "...{" * 150 + "products{id}" + "}" * 151,
    ],
    ids=named,
)
def test_a_query_at_the_limit_is_answered(visitor: Shopper, query: str) -> None:
    assert assert_data(ask(visitor, query))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (fields(10), "Cannot query field 'a' on type 'Query'."),
        (
            "{...A} fragment A on Query{...B} fragment B on Query{...A}",
            "Cannot spread fragment 'A' within itself via 'B'.",
        ),
        ("{...A}", "Unknown fragment 'A'."),
        ("{products{price{cents}}}", "Field 'price' must not have a selection since type 'Float!' has no subfields."),
        (
            "query A{products{id}} query B{products{id}}",
            "Must provide operation name if query contains multiple operations.",
        ),
        ("subscription{orders{id}}", "The subscription operation is not supported by the schema."),
    ],
    ids=named,
)
def test_a_query_that_makes_no_sense_is_400_and_says_why(visitor: Shopper, query: str, text: str) -> None:
    answer = ask(visitor, query)
    assert (answer.status_code, answer.json()["errors"][0]) == (400, {"message": text})


def test_introspection_answers_and_cannot_multiply(visitor: Shopper) -> None:
    names = [kind["name"] for kind in assert_data(ask(visitor, "{__schema{types{name}}}"))["__schema"]["types"]]
    assert {"Product", "CartItem", "CartItemInput", "Order", "Query", "Mutation"} <= set(names)
    loop = "{__schema{types{fields{type{fields{type{fields{name}}}}}}}}"
    answer = ask(visitor, loop)
    assert (answer.status_code, answer.json()) == (
        400,
        {"errors": [{"message": "Maximum introspection depth exceeded"}]},
    )


def test_the_schema_is_the_contracts(visitor: Shopper) -> None:
    asked = "{__schema{types{name kind fields{name args{name} type{...T}} inputFields{name type{...T}}}}}"
    named_type = "fragment T on __Type{kind name ofType{kind name ofType{kind name ofType{kind name}}}}"
    kinds = {kind["name"]: kind for kind in assert_data(ask(visitor, asked + named_type))["__schema"]["types"]}

    def spelled(kind: Any) -> str:
        match kind["kind"]:
            case "NON_NULL":
                return f"{spelled(kind['ofType'])}!"
            case "LIST":
                return f"[{spelled(kind['ofType'])}]"
            case _:
                return str(kind["name"])

    def member(found: Any) -> str:
        arguments = ",".join(argument["name"] for argument in found.get("args") or [])
        return f"{found['name']}{arguments and f'({arguments})'}:{spelled(found['type'])}"

    def members(name: str) -> str:
        return " ".join(member(found) for found in kinds[name]["fields"] or kinds[name]["inputFields"])

    assert members("Product") == (
        "id:ID! title:String! price:Float! description:String! image:String! category:String! createdAt:String! "
        "popularity:Int! rating:Float! stock:Int! discountPercent:Int"
    )
    assert members("CartItem") == members("CartItemInput") == "id:ID! quantity:Int!"
    assert members("Order") == "id:ID! total:Float! date:String! status:String items:[CartItem!]!"
    assert members("Query") == "products:[Product!]! product(id):Product orders:[Order!]!"
    assert members("Mutation") == "createOrder(total,items,idempotencyKey):Order!"


def test_products_are_rests_products(visitor: Shopper) -> None:
    names = "id title price description image category createdAt popularity rating stock discountPercent"
    by_rest = assert_data(visitor.send("GET", "/api/products"))
    wanted = [{name: product.get(name) for name in names.split()} for product in by_rest]
    assert assert_data(ask(visitor, f"{{products{{{names}}}}}")) == {"products": wanted}
    assert {product["id"]: product["price"] for product in wanted} == PRICES
    query = f"query One($id: ID!){{product(id: $id){{{names}}}}}"
    for product in wanted:
        assert assert_data(ask(visitor, query, {"id": product["id"]})) == {"product": product}


@pytest.mark.parametrize("product", ["4", "", "1" * 21, "1/../2", "..", ".", "caf\u00e9", "%31", "1?x", "1#x"])
def test_an_unknown_product_is_null(visitor: Shopper, product: str) -> None:
    answer = ask(visitor, "query One($id: ID!){product(id: $id){id}}", {"id": product})
    assert (answer.status_code, answer.json()) == (200, {"data": {"product": None}})


def test_signed_out_there_are_no_orders(visitor: Shopper) -> None:
    answer = ask(visitor, "{orders{id}}")
    assert (answer.status_code, answer.json()) == (200, {"data": {"orders": []}})
    answer = ask(visitor, "{orders{id}}", headers={"Authorization": "Bearer nonsense"})
    assert (answer.status_code, answer.json()) == (200, {"data": {"orders": []}})


def test_own_orders_are_rests_orders(anna: Shopper, bob: Shopper) -> None:
    bob.bought([line(MOUSE_PAD)])
    anna.bought([line(KEYBOARD), line(HEADPHONES, 2)])
    anna.bought([line(MOUSE_PAD)])
    wanted = [{name: order[name] for name in SHAPE} for order in anna.orders()]
    assert len(wanted) == 2
    assert assert_data(ask(anna, "{orders{id total date status items{id quantity}}}")) == {"orders": wanted}


def test_an_order_made_here_is_the_order_that_rest_shows(anna: Shopper) -> None:
    order = created(create(anna, [line(KEYBOARD, 2), line(HEADPHONES)]))
    [shown] = anna.orders()
    assert order == {name: shown[name] for name in SHAPE}
    assert (order["total"], order["status"]) == (427, "processing")


@pytest.mark.parametrize("variable", [2.0, 1e1, 99])
def test_a_javascript_number_is_a_number(anna: Shopper, variable: Any) -> None:
    items = [line(HEADPHONES, 1), line(KEYBOARD, 1)]
    sent = json.dumps({"query": CREATE, "variables": {"items": [line(KEYBOARD, variable)], "total": 149 * variable}})
    answer = anna.send("POST", "/api/graphql", sent.encode())
    if variable == 99:
        refused(answer, "Insufficient stock for Mechanical Keyboard: requested 99, available 15")
    else:
        assert created(answer)["items"] == [line(KEYBOARD, int(variable))]
    assert created(create(anna, items, float(worth(items))))["total"] == worth(items)


def _by_argument(shopper: Shopper, items: Items, key: str) -> httpx.Response:
    return create(shopper, items, key=key)


def _by_header(shopper: Shopper, items: Items, key: str) -> httpx.Response:
    return create(shopper, items, Idempotency_Key=key)


@pytest.mark.parametrize("send", [_by_argument, _by_header])
def test_a_duplicate_is_answered_with_the_same_order(
    anna: Shopper, send: Callable[[Shopper, Items, str], httpx.Response]
) -> None:
    key, items = a_key(), [line(KEYBOARD), line(MOUSE_PAD)]
    first = created(send(anna, items, key))
    assert created(send(anna, items, key)) == first
    assert created(create(anna, items)) == first  # within the window, without any name
    answer = send(anna, [line(KEYBOARD)], key)
    refused(answer, "Idempotency-Key was used before with another payload")
    assert len(anna.orders()) == 1


def test_the_argument_wins_over_the_header_and_a_blank_one_falls_back_to_it(anna: Shopper) -> None:
    items, argument, header = [line(KEYBOARD)], a_key(), a_key()
    first = created(create(anna, items, key=argument, Idempotency_Key=header))
    assert created(create(anna, items, key=f" {argument}\n", Idempotency_Key="!")) == first
    second = created(create(anna, items, key=" \u00a0\n", Idempotency_Key=header))
    assert second["id"] != first["id"]  # the header's key had been no name of the first order
    assert created(create(anna, items, key="", Idempotency_Key=header)) == second
    refused(create(anna, items, key="", Idempotency_Key="!"), "Invalid Idempotency-Key")
    refused(create(anna, items, Idempotency_Key=""), "Invalid Idempotency-Key")
    assert len(anna.orders()) == 2


@pytest.mark.parametrize(
    "key",
    ["schl\u00fcssel", "\u043a\u043b\u044e\u0447\u043a\u043b\u044e\u0447", "a\r\nX-Evil: 1", "\x00" * 9, "\u0661" * 8],
)
def test_a_key_that_no_header_could_carry_is_invalid(anna: Shopper, key: str) -> None:
    refused(create(anna, [line(KEYBOARD)], key=key), "Invalid Idempotency-Key")
    assert anna.orders() == []


def test_the_cart_that_the_order_names_is_taken(anna: Shopper) -> None:
    session, items = a_session(), [line(KEYBOARD)]
    assert_data(anna.put_cart(session, items))
    order = created(create(anna, items, X_Cart_Session=session))
    assert anna.cart(session) == []
    assert created(create(anna, items, X_Cart_Session=session)) == order


@pytest.mark.parametrize(
    ("variables", "start"),
    [
        ({"items": [line(KEYBOARD)], "total": "149"}, "Variable '$total' has invalid value"),
        ({"items": [line(KEYBOARD)], "total": True}, "Variable '$total' has invalid value"),
        ({"items": [line(KEYBOARD)], "total": 10**400}, "Variable '$total' has invalid value"),
        ({"items": [line(KEYBOARD)]}, "Variable '$total' has invalid value: Expected a value"),
        ({"items": [line(KEYBOARD, 1.5)], "total": 149}, "Variable '$items' has invalid value at [0].quantity"),
        ({"items": [line(KEYBOARD, "2")], "total": 149}, "Variable '$items' has invalid value at [0].quantity"),
        ({"items": [line(KEYBOARD, True)], "total": 149}, "Variable '$items' has invalid value at [0].quantity"),
        ({"items": [{"id": KEYBOARD}], "total": 149}, "Variable '$items' has invalid value at [0]"),
        ({"items": None, "total": 149}, "Variable '$items' has invalid value"),
    ],
    ids=named,
)
def test_what_the_schema_refuses_is_400_without_data(anna: Shopper, variables: Any, start: str) -> None:
    answer = ask(anna, CREATE, variables)
    assert answer.status_code == 400
    body = answer.json()
    assert body["data"] is None
    assert body["errors"][0]["message"].startswith(start), body
    assert anna.orders() == []


def test_a_mutation_that_does_not_validate_has_no_data(anna: Shopper) -> None:
    answer = ask(anna, "mutation{createOrder(total:1){id}}")
    assert (answer.status_code, answer.json()["data"]) == (400, None)


def test_a_body_too_large_is_413(anna: Shopper) -> None:
    answer = anna.send("POST", "/api/graphql", json.dumps({"query": "{products{id}}", "pad": " " * LIMIT}).encode())
    assert (answer.status_code, answer.json()) == (413, {"error": "Request body too large"})
