"""A server that speaks another language: what happens goes by SQLSTATEs, while connecting too."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from pipecopy.errors import DatabaseError
from tests.faults.held import copying
from tests.support.checks import Expected, Tables, check, check_outcome, run_copy
from tests.support.proxy import Proxy

pytestmark = pytest.mark.server

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


@dataclass
class Refusing:
    """Refuses each session as a server does, in its language."""

    sqlstate: str
    message: str
    times: int = 0
    _waiting: threading.Condition = field(default_factory=threading.Condition)

    def serve(self, listener: socket.socket) -> None:
        """Take one connection after the other, until the listener is shut down."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, client.makefile("rb") as sent:
                    self._refuse(client, sent)
                with self._waiting:
                    self.times += 1
                    self._waiting.notify_all()

    def _refuse(self, client: socket.socket, sent: BinaryIO) -> None:
        while True:
            size, version = struct.unpack("!II", sent.read(8))
            sent.read(size - 8)
            if version not in {SSL_REQUEST, GSS_REQUEST}:
                break
            client.sendall(b"N")
        fields = {"S": "SCHWERWIEGEND", "V": "FATAL", "C": self.sqlstate, "M": self.message}
        fields |= {"F": "postinit.c", "L": "830", "R": "InitPostgres"}
        body = b"".join(f"{name}{text}\0".encode() for name, text in fields.items()) + b"\0"
        client.sendall(b"E" + struct.pack("!I", len(body) + 4) + body)

    def wait(self, times: int) -> None:
        with self._waiting:
            assert self._waiting.wait_for(lambda: self.times >= times, timeout=20)


@contextlib.contextmanager
def refusing(sqlstate: str, message: str) -> Iterator[tuple[Refusing, int]]:
    """Give a server that refuses each session, and its port."""
    server = Refusing(sqlstate, message)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield server, listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


NO_SLOT = ("53300", "zu viele Verbindungen für Rolle »app«")


@pytest.mark.parametrize(
    ("sqlstate", "message", "exit_code"),
    [
        (*NO_SLOT, 75),
        ("57P03", "das Datenbanksystem startet", 75),
        ("28P01", "Passwort-Authentifizierung für Benutzer »app« fehlgeschlagen", 3),
        ("3D000", "Datenbank »app« existiert nicht", 3),
        ("YY042", "hausgemacht", 3),
    ],
)
def test_a_refusal_is_told_by_its_sqlstate(
    sqlstate: str, message: str, exit_code: int, tables: Tables
) -> None:
    with refusing(sqlstate, message) as (_, port):
        ended = run_copy(tables.pool(source=f"postgresql://app@127.0.0.1:{port}/app"))
    words = (f"({sqlstate})", f"SCHWERWIEGEND:  {message}", "attempt 1")
    expected = Expected(
        error=DatabaseError, side="source", call="connect", exit_code=exit_code, words=words
    )
    check_outcome(ended, expected)
    assert isinstance(ended.exception, DatabaseError)
    assert ended.exception.sqlstate == sqlstate
    assert "InitPostgres" not in ended.message  # a place in the server's code


def test_one_of_several_hosts_that_will_answer_soon_passes(tables: Tables) -> None:
    """Whatever the others say until then: a standby may take no session that writes."""
    other = tables.source.server.port
    with refusing("57P03", "das Datenbanksystem startet") as (_, port):
        uri = f"postgresql://postgres@127.0.0.1:{port},127.0.0.1:{other}/{tables.source.name}"
        ended = run_copy(tables.pool(source=f"{uri}?target_session_attrs=standby"))
    words = ("(57P03)", "SCHWERWIEGEND:  das Datenbanksystem startet", f"port {other} failed")
    check_outcome(
        ended,
        Expected(error=DatabaseError, side="source", call="connect", exit_code=75, words=words),
    )


def test_a_slot_that_comes_free_is_waited_for(tables: Tables) -> None:
    with refusing(*NO_SLOT) as (server, port), Proxy(("127.0.0.1", port)) as proxy:
        target = tables.target.server.uri(tables.target.name, port=proxy.port)
        with copying(tables, pool=tables.pool(target=target)) as ending:
            server.wait(2)
            proxy.lead_to(tables.target.server)
            ended = ending.result()
    check(ended, tables, Expected(retries=0))
