"""The proxy does to a connection what it says."""

from __future__ import annotations

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support.proxy import Proxy
from tests.support.servers import PostgresServer


def test_forwards_and_counts_round_trips(pg16: PostgresServer) -> None:
    with Proxy(pg16) as proxy, psycopg.connect(proxy.uri("postgres"), autocommit=True) as db:
        before = proxy.round_trips
        big = "x" * 3_000_000
        for _ in range(5):
            assert db.execute("SELECT %s::text", [big]).fetchone() == (big,)
        assert proxy.round_trips == before + 5
        assert proxy.traffic[0].to_server > 15_000_000 < proxy.traffic[0].to_client


def test_deaf(pg16: PostgresServer) -> None:
    with Proxy(pg16) as proxy, proxy.deaf():
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3) as client:
            client.send(struct.pack(">ii", 8, 80877103))  # a server answers this with one byte
            with pytest.raises(TimeoutError):
                client.recv(1)
        with socket.create_connection((pg16.host, pg16.port), timeout=0.3) as client:
            client.send(struct.pack(">ii", 8, 80877103))
            assert client.recv(1) == b"N"


def test_freezes_in_mid_stream_and_thaws(pg16: PostgresServer) -> None:
    with (
        Proxy(pg16) as proxy,
        psycopg.connect(proxy.uri("postgres"), autocommit=True) as db,
        ThreadPoolExecutor() as executor,
    ):
        with proxy.freeze("to_client", after=50_000) as fault:
            query = executor.submit(db.execute, "SELECT repeat('x', 100000)")
            assert fault.struck.wait(5)
            assert fault.after == 0
            with pytest.raises(TimeoutError):
                query.result(0.1)
        assert query.result(5).fetchone() == ("x" * 100_000,)


@pytest.mark.parametrize("action", ["cut", "reset"])
def test_ends_a_connection_after_some_bytes(pg16: PostgresServer, action: str) -> None:
    with Proxy(pg16) as proxy, psycopg.connect(proxy.uri("postgres"), autocommit=True) as db:
        db.execute("SELECT 1")
        with getattr(proxy, action)("to_client", after=50_000, connections=1) as fault:
            with pytest.raises(psycopg.OperationalError):
                db.execute("SELECT repeat('x', 100000)")
            assert fault.struck.is_set()
            psycopg.connect(proxy.uri("postgres")).close()  # the next one is left in peace


def test_throttles(pg16: PostgresServer) -> None:
    with Proxy(pg16) as proxy, psycopg.connect(proxy.uri("postgres"), autocommit=True) as db:
        db.execute("SELECT 1")
        start = time.monotonic()
        with proxy.throttle(100_000):
            db.execute("SELECT repeat('x', 50000)")
        assert 0.4 < time.monotonic() - start < 1


def test_latency_delays_but_keeps_the_throughput(pg16: PostgresServer) -> None:
    with (
        Proxy(pg16) as proxy,
        psycopg.connect(proxy.uri("postgres"), autocommit=True) as db,
        proxy.latency(0.05),
    ):
        start = time.monotonic()
        db.execute("SELECT 1")
        assert 0.1 <= time.monotonic() - start < 0.2
        start = time.monotonic()
        db.execute("SELECT repeat('x', 50000000)")
        assert time.monotonic() - start < 1.5
