"""What is wrong with the name of a database, told before anything is opened.

No part of a connection string is shown that may belong to a password: of one that should have been
quoted, libpq's own messages show a piece. psycopg is loaded only if something may be wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path

from pipecopy.redact import KEYWORDS, Parameter, parameters_in, shown_name

SCHEMES = ("postgresql://", "postgres://")
_SCHEMA = "a table's schema belongs to its name: schema.table"
_POOLER = "a pooler in session mode is allowed with --session-pooler (session_pooler=True)"
_OF_OTHERS: Mapping[str, str | None] = {
    **dict.fromkeys(("schema", "currentSchema", "search_path"), _SCHEMA),
    "pgbouncer": _POOLER,
    **dict.fromkeys(
        "connection_limit pool_timeout socket_timeout statement_cache_size sslaccept sslidentity"
        " ssl sslfactory socketTimeout loginTimeout connectTimeout prepareThreshold ApplicationName"
        " stringtype tcpKeepAlive reWriteBatchedInserts pool_size max_overflow charset encoding"
        " timezone database db username server driver supa workaround".split()
    ),
}
"""Parameters of Prisma, JDBC, SQLAlchemy and the like, and what to do instead."""
_FOREIGN = re.compile(
    r"jdbc:[a-z]+:|postgres(?:ql)?\+[a-z0-9]+:|(?:mysql|mariadb|sqlite|mssql|oracle|redshift)"
    r"(?:\+[a-z0-9]+)?:"
)
_UNCLOSED = re.compile(r"\s*\w+\s*=\s*'(?:[^'\\]|\\.)*", re.DOTALL)
_SECTION = re.compile(rb"^\[([^]\n]*)\]", re.MULTILINE)


def wrong_name(name: str, connections: Mapping[str, str]) -> str | None:
    """Say what is wrong with a name that is to be connected to; None if nothing is."""
    if name in connections:
        if wrong := wrong_connection(connections[name]):
            return f"the connection string of {shown_name(name)!r}: {wrong}"
        return None
    if is_connection(name):
        return wrong_connection(name)
    if is_service(name):
        return None
    known = f"a database of the pool ({', '.join(map(shown_name, connections))}), "
    return (
        f"{name!r} is not {known if connections else ''}a service in libpq's pg_service.conf,"
        f" a URI or a connection string{did_you_mean(name, connections)}"
    )


def is_connection(text: str) -> bool:
    """Tell whether the text is meant as a URI or a connection string, and is no bare name."""
    return not text or parameters_in(text) is not None or shown_name(text) != text


def is_service(name: str) -> bool:
    """Tell whether libpq finds a service of that name."""
    home = Path(os.environ.get("HOME", "/"), ".pg_service.conf")
    try:
        text = Path(os.environ.get("PGSERVICEFILE") or home).read_bytes()
    except OSError:
        text = b""
    return name.encode() in _SECTION.findall(text) or bool(_settled(f"service={_quoted(name)}"))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return what to say about an unknown name that is like a known one."""
    like = get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean {like[0]}?)" if like else ""


def wrong_connection(text: str) -> str | None:
    """Say what is wrong with a connection string, with no part of it that may be secret."""
    if not text.strip():
        return "it is empty"
    if not is_connection(text):
        return None if is_service(text) else f"there is no service {text!r} in pg_service.conf"
    found = parameters_in(text)
    is_uri = text.startswith(SCHEMES)
    if "://" in text.partition("=")[0] and not is_uri:
        foreign = _FOREIGN.match(text)
        begins = f'"{foreign[0]}//" is not libpq\'s' if foreign else "this is not a URI of libpq"
        return f"{begins}: a URI of PostgreSQL begins with postgresql://"
    if found is None:
        return _malformed_uri(text) if is_uri else _malformed_conninfo(text)
    if all(one.is_known for one in found):
        services = [text[one.begin : one.end] for one in found if one.name == "service"]
        if services and not _settled(text):
            return f"there is no service {services[-1]} in libpq's pg_service.conf"
        return None
    return _unknown_parameters(found) if _is_refused(text) else None


def _unknown_parameters(found: list[Parameter]) -> str:
    own = {name.lower(): name for name in _OF_OTHERS}
    names, remedies = [], []
    for number, one in enumerate(found, 1):
        if one.is_known:
            continue
        other = own.get(one.name.lower())
        if other is not None or one.is_certain:
            hint = "" if other else did_you_mean(one.name.lower(), KEYWORDS)
            names.append(f'"{other or one.name}"{hint}')
        else:
            names.append(f"number {number}, if it is one")
        remedies.append(_OF_OTHERS[other] if other else None)
    these, them = ("parameter", "it") if len(names) == 1 else ("parameters", "them")
    more = "".join(f"; {remedy}" for remedy in dict.fromkeys(remedies) if remedy)
    return f"libpq does not know the {these} {', '.join(names)}: remove {them}{more}"


def _malformed_uri(text: str) -> str | None:
    rest = text.partition("://")[2]
    query = rest.partition("?")[2]
    if re.search(r"\s", text):
        why = "a space is written %20"
    elif re.search(r"%(?![0-9a-fA-F]{2})", text):
        why = 'a "%" that stands for itself is written %25'
    elif re.search(r"[@/?#].*@", rest):
        why = 'in a password "@" is written %40, "/" %2F, "?" %3F, "#" %23'
    elif query and "=" in query and not all("=" in part for part in query.split("&")):
        why = 'what follows the "?" is name=value&name=value; in a value "&" is written %26'
    elif re.search(r":(?!\d*(?:[,/?]|$))", re.sub(r"\[[^]]*\]", "", rest.rpartition("@")[2])):
        why = 'a port is a number, and a password ends with an "@" before the host'
    elif _is_refused(text):
        why = "it is postgresql://user:password@host:port/database?name=value&name=value"
    else:
        return None
    return f"this is not a valid URI: {why}"


def _malformed_conninfo(text: str) -> str | None:
    if not _is_refused(text):
        return None
    if "=" not in text:
        return "this is not a service's name, and a URI begins with postgresql://"
    if _UNCLOSED.search(text) and text.count("'") % 2:
        why = "a quote is not closed"
    else:
        why = "in a list of name=value, a value with spaces or quotes is written in single quotes"
    return f"this is not a valid connection string: {why}"


def _is_refused(text: str) -> bool:
    """Tell whether libpq can't read the connection string."""
    import psycopg  # noqa: PLC0415 - takes long: only if something may be wrong
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - the same

    try:
        conninfo_to_dict(text)
    except psycopg.Error:
        return True
    return False


def _settled(conninfo: str) -> list[str]:
    """Return the names of all parameters that a connection would have: none if it has no service.

    libpq lists them for a connection only: here one that a wrong value ends before the network.
    """
    from psycopg import pq  # noqa: PLC0415 - takes long: only if something may be wrong
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - the same

    attempt = pq.PGconn.connect_start(make_conninfo(conninfo, sslmode="never").encode())
    try:
        return [option.keyword.decode() for option in attempt.info if option.val]
    finally:
        attempt.finish()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
