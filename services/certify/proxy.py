"""A bad wire: passes bytes between one process and its server, slowly, one way only, or not at all, as told."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

_CHUNK = 16_384  # bytes
_SLOW = 0.05  # seconds a chunk, each way

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Wire(StrEnum):
    """What the wire does. `mute` passes questions and swallows answers: what was asked is done, and nobody knows."""

    GOOD = "good"
    SLOW = "slow"
    MUTE = "mute"


class Proxy:
    """One listening end and any number of connections through it."""

    def __init__(self, connect: Connect) -> None:
        self.wire = Wire.GOOD
        self._connect = connect
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    async def on_socket(path: Path, target: Path) -> "Proxy":
        """Between two unix sockets."""
        proxy = Proxy(lambda: asyncio.open_unix_connection(target))
        proxy._server = await asyncio.start_unix_server(proxy._take, path)
        return proxy

    @staticmethod
    async def on_port(port: int, target: int) -> "Proxy":
        """Between two TCP ports of this machine."""
        proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", target))
        proxy._server = await asyncio.start_server(proxy._take, "127.0.0.1", port)
        return proxy

    def cut(self) -> None:
        """Breaks every connection where it is; what was swallowed is never delivered."""
        for writer in self._open:
            writer.transport.abort()

    async def close(self) -> None:
        """Ends it."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until one of its ends closes it. With the server away it ends as it would without us."""
        ends, halves = [writer], []
        self._open.add(writer)
        try:
            server_reader, server_writer = await self._connect()
            ends.append(server_writer)
            self._open.add(server_writer)
            halves.append(asyncio.create_task(self._pass(reader, server_writer, is_answer=False)))
            halves.append(asyncio.create_task(self._pass(server_reader, writer, is_answer=True)))
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
            self._open.difference_update(ends)
            for end in ends:
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if self.wire is Wire.MUTE and is_answer:
                    continue
                if self.wire is Wire.SLOW:
                    await asyncio.sleep(_SLOW)
                writer.write(chunk)
                await writer.drain()
