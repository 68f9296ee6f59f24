"""What is wrong with the name of a database, told before anything is opened.

No part of a connection string is shown that may belong to a password: of one that should have been
quoted, libpq's own messages show a piece. psycopg is loaded only if something may be wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from pipecopy.finding import did_you_mean
from pipecopy.redact import KEYWORDS, Parameter, parameters_in, shown_name

SCHEMES = ("postgresql://", "postgres://")
_SCHEMA = "a table's schema belongs to its name: schema.table"
_POOLER = "a pooler in session mode is allowed with `session_pooler`"
_INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("schema", "currentschema", "search_path"), _SCHEMA),
    "pgbouncer": _POOLER,
    "ssl": "sslmode=require asks for encryption",
}
"""Parameters of Prisma and JDBC, in lower case, and what to do instead."""
_FOREIGN = re.compile(
    r"jdbc:[a-z]+:|postgres(?:ql)?\+[a-z0-9]+:|(?:mysql|mariadb|sqlite|mssql|oracle|redshift)"
    r"(?:\+[a-z0-9]+)?:"
)
_VALUES: Mapping[str, str] = {
    "sslmode": "disable, allow, prefer, require, verify-ca or verify-full",
    "gssencmode": "disable, prefer or require",
    "channel_binding": "disable, prefer or require",
    "load_balance_hosts": "disable or random",
    "target_session_attrs": "any, read-write, read-only, primary, standby or prefer-standby",
}
"""What libpq takes for a parameter, and looks at only when it connects."""
_MOST_PORT = 65_535
_UNCLOSED = re.compile(r"\s*\w+\s*=\s*'(?:[^'\\]|\\.)*", re.DOTALL)
_SECTION = re.compile(rb"^\[([^]\n]*)\]", re.MULTILINE)


def wrong_name(
    name: str, connections: Mapping[str, str], *, among: str = "the pool's databases"
) -> str | None:
    """Say what is wrong with a name that is to be connected to; None if nothing is.

    `among` is what to call `connections`.
    """
    if name in connections:
        if wrong := wrong_connection(connections[name]):
            return f'the connection string of "{shown_name(name)}": {wrong}'
        return None
    if is_connection(name):
        return wrong_connection(name)
    if is_service(name):
        return None
    known = f"in {among} ({', '.join(map(shown_name, connections))}), nor "
    return (
        f'"{name}" is not {known if connections else ""}a service in libpq\'s pg_service.conf,'
        f" nor a URI or a connection string{did_you_mean(name, connections)}"
    )


def is_connection(text: str) -> bool:
    """Tell whether the text is meant as a URI or a connection string, and is no bare name."""
    return not text or parameters_in(text) is not None or shown_name(text) != text


def is_service(name: str) -> bool:
    """Tell whether libpq finds a service of that name."""
    return _is_in_service_file(name) or _has_its_service(service_conninfo(name))


def _is_in_service_file(name: str) -> bool:
    home = Path(os.environ.get("HOME", "/"), ".pg_service.conf")
    try:
        text = Path(os.environ.get("PGSERVICEFILE") or home).read_bytes()
    except OSError:
        text = b""
    return name.encode() in _SECTION.findall(text)


def wrong_connection(text: str) -> str | None:
    """Say what is wrong with a connection string, or the name of a service; None if nothing is."""
    if wrong := malformed(text):
        return wrong
    if is_connection(text):
        services = [
            text[one.begin : one.end] for one in parameters_in(text) or () if one.name == "service"
        ]
        if not services or _is_in_service_file(services[-1]) or _has_its_service(text):
            return None
        return _no_service(services[-1])
    return None if is_service(text) else _no_service(text)


def malformed(text: str) -> str | None:
    """Say what is wrong with the form of a connection string; None if nothing is.

    The services that it names need not be there.
    """
    if not text.strip():
        return "it is empty"
    if not is_connection(text):
        return None
    found = parameters_in(text)
    is_uri = text.startswith(SCHEMES)
    if "://" in text.partition("=")[0] and not is_uri:
        foreign = _FOREIGN.match(text)
        begins = f'"{foreign[0]}//" is not libpq\'s' if foreign else "this is not a URI of libpq"
        return f"{begins}: a URI of PostgreSQL begins with postgresql://"
    if found is None or not all(one.is_known or one.is_certain for one in found):
        return _malformed_uri(text) if is_uri else _malformed_conninfo(text)
    if all(one.is_known for one in found) or not _is_refused(text):
        return _wrong_values(text, found)
    return _unknown_parameters(found)


def _no_service(name: str) -> str:
    return f'libpq\'s pg_service.conf has no service "{name}"'


def _unknown_parameters(found: list[Parameter]) -> str:
    unknown = [one.name for one in found if not one.is_known]
    instead = [_INSTEAD.get(name.lower()) for name in unknown]
    named = [
        f'"{name}"{"" if other else did_you_mean(name.lower(), KEYWORDS)}'
        for name, other in zip(unknown, instead, strict=True)
    ]
    these, them = ("parameter", "it") if len(named) == 1 else ("parameters", "them")
    more = "".join(f"; {remedy}" for remedy in dict.fromkeys(instead) if remedy)
    return f"libpq does not know the {these} {', '.join(named)}: remove {them}{more}"


def _wrong_values(text: str, found: list[Parameter]) -> str | None:
    """Say which parameters can't have their value, without the value; None if all can."""
    values = [(one.name, text[one.begin : one.end].strip("'")) for one in found]
    if text.startswith(SCHEMES):
        values = [(name, unquote(value)) for name, value in values]
        hosts = re.split("[/?#]", text.partition("://")[2])[0].rpartition("@")[2]
        values += [("port", port) for port in re.findall(r":(\d+)(?=,|$)", hosts)]
    bad = [
        f"{name} must be {_VALUES[name]}"
        for name, value in values
        if value and name in _VALUES and value not in re.split(", | or ", _VALUES[name])
    ]
    ports = [port for name, value in values if name == "port" for port in value.split(",") if port]
    if not all(port.strip().isdecimal() and 0 < int(port) <= _MOST_PORT for port in ports):
        bad.append(f"port must be a number from 1 to {_MOST_PORT}")
    return "; ".join(bad) or None


def _malformed_uri(text: str) -> str | None:
    rest = text.partition("://")[2]
    query = rest.partition("?")[2]
    if re.search(r"\s", text):
        why = "a space is written %20"
    elif re.search(r"%(?![0-9a-fA-F]{2})", text):
        why = 'a "%" that stands for itself is written %25'
    elif re.search(r"[@/?#].*@", rest):
        why = 'in a password "@" is written %40, "/" %2F, "?" %3F, "#" %23'
    elif "=" in query and "&" in query:
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
    try:
        import psycopg  # noqa: PLC0415 - takes long: only if something may be wrong
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - the same
    except ImportError:  # which the first call says
        return False
    try:
        conninfo_to_dict(text)
    except psycopg.Error:
        return True
    return False


def _has_its_service(conninfo: str) -> bool:
    """Tell whether libpq finds the service that a readable connection string names."""
    try:
        return bool(known_parameters(conninfo))
    except ImportError:  # which the first call says
        return True


def known_parameters(conninfo: str) -> dict[str, str]:
    """Return all parameters as libpq finds them in the service file, environment and defaults.

    None at all if there is no such service. libpq lists them for a connection only: here one that a
    wrong value ends before the network.
    """
    from psycopg import pq  # noqa: PLC0415 - takes long: only if something may be wrong
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - the same

    attempt = pq.PGconn.connect_start(make_conninfo(conninfo, sslmode="never").encode())
    try:
        return {
            option.keyword.decode(): option.val.decode() for option in attempt.info if option.val
        }
    finally:
        attempt.finish()


def service_conninfo(name: str) -> str:
    """Return the connection string that names the service alone."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"service='{escaped}'"
