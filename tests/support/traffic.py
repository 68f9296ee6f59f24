"""What goes through a proxy: connections, their two directions, and what strikes them."""

from __future__ import annotations

import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["to_server", "to_client", "both"]
Action = Literal["freeze", "cut", "reset"]
_BEGINNING = 1000
"""Bytes that are kept of what the client says at a time."""


@dataclass(eq=False)
class Fault:
    """What happens once `after` bytes went in its direction, counted from its start."""

    action: Action
    direction: Direction
    after: int
    connections: int | None
    """How many connections it strikes at most; None: all."""
    struck: threading.Event = field(default_factory=threading.Event)
    victims: set[int] = field(default_factory=set)

    def budget(self, flow: Flow) -> int | None:
        """Return how many bytes may still pass in the flow; None if it is not concerned."""
        if self.direction not in {"both", flow.direction}:
            return None
        number = flow.connection.number
        full = self.connections is not None and len(self.victims) >= self.connections
        if full and number not in self.victims:
            return None
        return max(self.after, 0)

    def strike(self, number: int) -> None:
        self.victims.add(number)
        self.struck.set()


@dataclass
class Traffic:
    """What went through one connection."""

    to_server: int = 0
    to_client: int = 0
    round_trips: int = 0
    """How often the server answered what the client had sent."""
    said: list[bytes] = field(default_factory=list)
    """How each time began that the client said something."""
    last: str = "to_client"

    def note(self, direction: str, chunk: bytes) -> None:
        if direction == "to_server":
            self.to_server += len(chunk)
            if self.last == "to_client":
                self.said.append(chunk[:_BEGINNING])
        else:
            self.to_client += len(chunk)
            self.round_trips += self.last == "to_server"
        self.last = direction


class Flow:
    """One direction of one connection."""

    def __init__(
        self, connection: Connection, direction: str, source: socket.socket, sink: socket.socket
    ) -> None:
        self.connection = connection
        self.direction = direction
        self.source = source
        self.sink = sink
        self.queue: deque[tuple[float, memoryview]] = deque()
        self.queued = 0
        self.source_ended = False
        self.end_passed_on = False
        self.next_write = 0.0  # later than now only if a throttle holds it back


class Connection:
    def __init__(self, number: int, client: socket.socket, server: socket.socket) -> None:
        self.number = number
        self.traffic = Traffic()
        self.client = client
        self.server = server
        self.broken = False  # one side reset it, or is gone: the other is to learn so
        self.flows = (
            Flow(self, "to_server", client, server),
            Flow(self, "to_client", server, client),
        )
