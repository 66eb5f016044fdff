"""A lean HTTP/1.1 client: the load must not be limited by its own client. Knows no route."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import TillrollError


class NoAnswer(TillrollError):
    """The connection was refused, cut or silent: what became of the request is unknown."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `body` is the JSON value, or None when it is none."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def data(self) -> Any:
        """The envelope's `data`, or None."""
        return self.body.get("data") if isinstance(self.body, dict) else None


class Door:
    """One process that takes requests, over connections that are kept."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: object = None, seconds: float = 8.0
    ) -> Response:
        """The answer; raises NoAnswer, after `seconds` at the latest."""
        content = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if content:
            head.append("Content-Type: application/json")
        request = "\r\n".join([*head, "", ""]).encode() + content
        reader = writer = None
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await self._connect()
                writer.write(request)
                await writer.drain()
                response = await _read(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as fault:
            raise NoAnswer(f"{self.name}: {type(fault).__name__}") from fault
        else:
            if response.headers.get("connection") != "close":
                self._idle.append((reader, writer))
                writer = None
        finally:
            if writer is not None:
                writer.close()
        return response

    def close(self) -> None:
        """Closes the connections that are kept."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)


async def _read(reader: asyncio.StreamReader) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    return Response(int(status_line.split(" ", 2)[1]), headers, body)
