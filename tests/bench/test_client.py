"""The C client sends what the oracle will ask for. Needs wrk."""

import asyncio
import json
import shutil
from pathlib import Path
from uuid import UUID

import jwt
import pytest

from services.bench.shoppers import Shoppers
from services.bench.wrk import check_out
from services.checkout.names import key_name

FIRST = 1_234  # as if that many had been sent before


async def test_every_checkout_of_the_client_has_the_name_and_the_body_that_its_number_says(
    shoppers: Shoppers, tmp_path: Path
) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    seen: dict[int, list[tuple[UUID, float]]] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
                order = json.loads(await reader.readexactly(int(fields["Content-Length"])))
                token = fields["Authorization"].removeprefix("Bearer ")
                user = jwt.decode(token, options={"verify_signature": False})["sub"]
                name = key_name(user, fields["Idempotency-Key"])
                seen.setdefault(port, []).append((name, order["total"]))
                body = json.dumps({"data": {"id": str(name)}}, separators=(",", ":")).encode()
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    answers = await check_out(shoppers, tmp_path, ports, FIRST, connections=4, seconds=1, think_ms=10)
    for server in servers:
        server.close()
    names = dict(shoppers.names(answers.numbers))
    assert len(names) == sum(answers.submitted) > 10
    assert answers.next_first > max(answers.numbers) >= min(answers.numbers) == FIRST
    assert seen.keys() == set(ports), "every process was asked"
    asked = [pair for of_port in seen.values() for pair in of_port]
    assert {name: names[name] for name, _ in asked} == dict(asked)
    assert len({name for name, _ in asked}) == len(asked)
    assert {UUID(order_id) for order_id in answers.order_ids} <= {name for name, _ in asked}
    assert (answers.refused, answers.broken, answers.timeouts) == (0, 0, 0)
