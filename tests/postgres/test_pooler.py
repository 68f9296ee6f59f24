"""A connection pooler on the way is refused, unless it is said to be in session mode."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipecopy.contracts import Session
from pipecopy.postgres import PostgresError, PostgresPool
from pipecopy.postgres.session_start import prepare
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import TABLE
from tests.support.servers import PostgresServer


@contextmanager
def pooler(server: PostgresServer) -> Iterator[int]:
    """Forward one connection, and tell the client a process id of the pooler's own, as all do.

    The server's connection stays until the end, whenever the client goes.
    """
    ending = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_one, args=(listener, server, ending), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        ending.set()
    thread.join(5)


def _serve_one(listener: socket.socket, server: PostgresServer, ending: threading.Event) -> None:
    client, _ = listener.accept()
    backend = socket.create_connection((server.host, server.port))
    with client, backend:
        upwards = threading.Thread(target=_forward, args=(client, backend, ending), daemon=True)
        upwards.start()
        stream = backend.makefile("rb")
        while head := stream.read(5):
            kind, length = head[:1], struct.unpack("!i", head[1:])[0]
            body = stream.read(length - 4)
            if kind == b"K":
                body = struct.pack("!i", 4242) + body[4:]
            client.sendall(head + body)
        upwards.join(5)


def _forward(source: socket.socket, sink: socket.socket, ending: threading.Event) -> None:
    while (piece := source.recv(65536)) and piece != b"X\0\0\0\4":  # Terminate
        sink.sendall(piece)
    ending.wait(10)
    sink.shutdown(socket.SHUT_WR)


def _pool(*, stated: bool) -> PostgresPool:
    session = Session(run_id="0" * 12, side="target", call_timeout=5)
    return PostgresPool(session_pooler=stated).for_session(session)


def test_a_pooler_is_refused(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    name = f"pipecopy/{'0' * 12}/target"
    with target_db.connect(application_name=name) as other, pooler(target_db.server) as port:
        uri = target_db.server.uri(target_db.name, port=port, sslmode="disable")
        with pytest.raises(PostgresError, match="session_pooler"):
            _pool(stated=False).connect(uri)
        other.execute("SELECT 1")  # nothing was done through it
        kept = [s["pid"] for s in target_db.sessions() if s["application_name"] == name]
        assert len(kept) == 2
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = ANY(%s)"
        assert other.execute(locks, [kept]).fetchall() == [(0,)]


def test_a_pooler_in_session_mode_is_taken_when_stated(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    with pooler(target_db.server) as port:
        uri = target_db.server.uri(target_db.name, port=port, sslmode="disable")
        database = _pool(stated=True).connect(uri)
        database.save_rows([(1, {})])
        database.close()
    assert target_db.value("SELECT count(*) FROM profiles") == 1


def test_what_a_session_before_has_left_in_it_makes_no_commit_weaker(
    target_db: TemporaryDatabase,
) -> None:
    with target_db.connect() as connection:
        for _ in range(2):  # the first one leaves its own settings, as a pool that resets nothing
            facts = prepare(connection, run=None, table="profiles", session_pooler=True)
            assert facts.commit == "on"
