"""Relay: stands between a driver and a server, and can fall silent, as a network can."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from pipecopy.demo.servers import Server

_SOCKET = ".s.PGSQL.5432"
_CHUNK = 65_536


class Relay:
    """Forwards from a socket of its own until its folder has a file `silent`.

    From then on the connections that there are stay open and carry nothing more, in either
    direction; new ones are served. Any process can make the file.
    """

    def __init__(self, server: Server) -> None:
        self._goal = server.folder / _SOCKET
        self._folder = server.folder.with_name("relay")
        self._folder.mkdir(mode=0o700)
        self.silent = self._folder / "silent"
        self._never = asyncio.Event()  # keeps the tasks that wait for it from being collected
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    @property
    def conninfo(self) -> str:
        """How libpq reaches the server through the relay."""
        return f"host='{self._folder}' user=postgres dbname=postgres"

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_unix_server(self._forward, self._folder / _SOCKET)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_unix_connection(self._goal)
        until_silent = not self.silent.exists()
        try:
            with suppress(OSError, asyncio.CancelledError):  # one end is gone, or the relay is
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, there[1], until_silent=until_silent))
                    both.create_task(self._pump(there[0], writer, until_silent=until_silent))
        finally:
            writer.close()
            there[1].close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, until_silent: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            if until_silent and self.silent.exists():
                await self._never.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()
