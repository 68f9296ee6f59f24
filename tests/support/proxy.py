"""A TCP proxy between a worker and a server, with the faults of a network.

One thread forwards for all connections, so a fault strikes at an exact byte. Delayed bytes wait
in a queue: a latency costs no throughput. `python -m tests.support.proxy` runs one as a process.
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Self

from tests.support.servers import PostgresServer
from tests.support.traffic import Action, Connection, Direction, Fault, Flow, Traffic

_CHUNK = 256 * 1024
_WINDOW = 256 * 1024  # bytes taken from a sender whose receiver takes none
_WINDOW_WITH_LATENCY = 64 * 1024 * 1024  # a second of what the loopback carries would be more


class Proxy:
    """Forwards to a server from a port of its own until it is closed."""

    def __init__(self, server: PostgresServer | tuple[str, int]) -> None:
        self._server = server
        self._goal = (server.host, server.port) if isinstance(server, PostgresServer) else server
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.traffic: list[Traffic] = []
        self._is_deaf = False
        self._latency = 0.0
        self._rate: float | None = None
        self._faults: list[Fault] = []
        self._connections: list[Connection] = []
        self._unheard: list[socket.socket] = []
        self._closing = False
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._wake()
        self._thread.join(5)
        self._waker.close()
        self._woken.close()

    def uri(self, dbname: str, *, user: str = "postgres", password: str | None = None) -> str:
        """Return the URI of a database of the server, through the proxy."""
        if not isinstance(self._server, PostgresServer):
            raise TypeError("only a PostgresServer knows its URIs")
        return self._server.uri(dbname, user=user, password=password, port=self.port)

    @property
    def round_trips(self) -> int:
        """The round trips of all connections so far."""
        return sum(traffic.round_trips for traffic in self.traffic)

    def lead_to(self, server: PostgresServer) -> None:
        """Have connections from now on lead to another server, as a virtual address does."""
        self._server, self._goal = server, (server.host, server.port)

    # -- the faults, each for the time of a `with` block

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Accept connections, and never answer them."""
        self._is_deaf = True
        try:
            yield
        finally:
            self._is_deaf = False

    @contextlib.contextmanager
    def latency(self, seconds: float) -> Iterator[None]:
        """Deliver every byte so much later, each way."""
        self._latency = seconds
        try:
            yield
        finally:
            self._latency = 0.0

    @contextlib.contextmanager
    def throttle(self, bytes_per_second: float) -> Iterator[None]:
        """Forward so many bytes a second in each direction of each connection."""
        self._rate = bytes_per_second
        try:
            yield
        finally:
            self._rate = None
            self._wake()

    def freeze(
        self, direction: Direction = "both", *, after: int = 0, connections: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """Forward nothing more."""
        return self._fault("freeze", direction, after, connections)

    def cut(
        self, direction: Direction = "both", *, after: int = 0, connections: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """Close the connection on both sides."""
        return self._fault("cut", direction, after, connections)

    def reset(
        self, direction: Direction = "both", *, after: int = 0, connections: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """Reset the connection (RST) on both sides."""
        return self._fault("reset", direction, after, connections)

    @contextlib.contextmanager
    def _fault(
        self, action: Action, direction: Direction, after: int, connections: int | None
    ) -> Iterator[Fault]:
        fault = Fault(action, direction, after, connections)
        self._faults.append(fault)
        self._wake()
        try:
            yield fault
        finally:
            self._faults.remove(fault)
            self._wake()

    # -- the thread

    def _wake(self) -> None:
        self._waker.send(b"!")

    def _run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        while not self._closing:
            timeout = self._set_interests(time.monotonic())
            for key, events in self._selector.select(timeout):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    self._woken.recv(4096)
                else:
                    self._serve(key.data, key.fileobj, events)
            for connection in list(self._connections):
                self._strike_at_once(connection)
                self._pass_on_the_ends(connection)
        for connection in list(self._connections):
            self._drop(connection)
        for sock in (*self._unheard, self._listener):
            sock.close()
        self._selector.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._is_deaf:
            self._unheard.append(client)
            return
        try:
            server = socket.create_connection(self._goal, timeout=5)
        except OSError:
            client.close()
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(len(self.traffic), client, server)
        self.traffic.append(connection.traffic)
        self._connections.append(connection)

    def _set_interests(self, now: float) -> float | None:
        """Say to the selector what to wait for, and return for how long."""
        wake = float("inf")
        window = _WINDOW_WITH_LATENCY if self._latency else _WINDOW
        for connection in self._connections:
            interests = {connection.client: 0, connection.server: 0}
            for flow in connection.flows:
                if not flow.source_ended and flow.queued < window:
                    interests[flow.source] |= selectors.EVENT_READ
                if flow.queue and self._allowed(flow) != 0:
                    due = max(flow.queue[0][0], flow.next_write)
                    if due <= now:
                        interests[flow.sink] |= selectors.EVENT_WRITE
                    else:
                        wake = min(wake, due)
            for sock, events in interests.items():
                self._register(sock, events, connection)
        return None if wake == float("inf") else max(wake - now, 0)

    def _register(self, sock: socket.socket, events: int, connection: Connection) -> None:
        key = self._selector.get_map().get(sock)
        if key is None and events:
            self._selector.register(sock, events, connection)
        elif key is not None and not events:
            self._selector.unregister(sock)
        elif key is not None and key.events != events:
            self._selector.modify(sock, events, connection)

    def _serve(self, connection: Connection, sock: object, events: int) -> None:
        for flow in connection.flows:
            try:
                if flow.source is sock and events & selectors.EVENT_READ:
                    self._read(flow)
                if flow.sink is sock and events & selectors.EVENT_WRITE:
                    self._write(flow)
            except BlockingIOError:
                continue
            except OSError:
                connection.broken = flow.source_ended = True
                flow.queue.clear()

    def _read(self, flow: Flow) -> None:
        chunk = flow.source.recv(_CHUNK)
        if chunk:
            flow.connection.traffic.note(flow.direction, chunk)
            flow.queue.append((time.monotonic() + self._latency, memoryview(chunk)))
            flow.queued += len(chunk)
        else:
            flow.source_ended = True

    def _write(self, flow: Flow) -> None:
        now = time.monotonic()
        while flow.queue and flow.queue[0][0] <= now and flow.next_write <= now:
            due, chunk = flow.queue[0]
            size = len(chunk)
            allowed = self._allowed(flow)
            if allowed is not None:
                size = min(size, allowed)
            if self._rate is not None:
                size = min(size, max(1, int(self._rate / 20)))
            if not size:
                return
            sent = flow.sink.send(chunk[:size])
            self._spend(flow, sent)
            flow.queued -= sent
            if sent < len(chunk):
                flow.queue[0] = (due, chunk[sent:])
            else:
                flow.queue.popleft()
            if self._rate is not None:
                flow.next_write = now + sent / self._rate

    def _pass_on_the_ends(self, connection: Connection) -> None:
        """Let a side know that the other is gone, but not through a frozen direction."""
        if connection not in self._connections:
            return
        for flow in connection.flows:
            if flow.source_ended and not flow.queue and self._allowed(flow) != 0:
                if connection.broken:
                    self._drop(connection, reset=True)
                    return
                if not flow.end_passed_on:
                    flow.end_passed_on = True
                    with contextlib.suppress(OSError):
                        flow.sink.shutdown(socket.SHUT_WR)
        if all(flow.end_passed_on for flow in connection.flows):
            self._drop(connection)

    def _allowed(self, flow: Flow) -> int | None:
        budgets = [fault.budget(flow) for fault in list(self._faults)]
        return min((b for b in budgets if b is not None), default=None)

    def _spend(self, flow: Flow, size: int) -> None:
        for fault in list(self._faults):
            if fault.budget(flow) is not None:
                fault.after -= size

    def _strike_at_once(self, connection: Connection) -> None:
        """Let the faults strike whose bytes are spent."""
        for fault in list(self._faults):
            for flow in connection.flows:
                if fault.budget(flow) != 0:
                    continue
                if fault.action == "freeze":
                    # One that strikes some connections only strikes those that have more to send.
                    if flow.queue or fault.connections is None:
                        fault.strike(connection.number)
                    continue
                fault.strike(connection.number)
                self._drop(connection, reset=fault.action == "reset")
                return

    def _drop(self, connection: Connection, *, reset: bool = False) -> None:
        self._connections.remove(connection)
        for sock in (connection.client, connection.server):
            if sock in self._selector.get_map():
                self._selector.unregister(sock)
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def main() -> None:
    """Run one proxy until standard input ends; its port is the first line of output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds each way")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Proxy((options.host, options.port)) as proxy, proxy.latency(options.latency):
        sys.stdout.write(f"{proxy.port}\n")
        sys.stdout.flush()
        for line in sys.stdin:  # each line asks for the round trips so far
            del line
            sys.stdout.write(f"{proxy.round_trips}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
