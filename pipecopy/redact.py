"""No password appears in a message, log, report or repr.

Passwords are found by what connection strings look like, also as people mistype them; and, if they
are known, by themselves, since a driver may quote a piece of one anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

_HIDDEN = "***"
_SHORTEST = 3
"""Characters: a shorter secret is part of too many words to be hidden everywhere."""

_KEYS = r"\w*(?:password|passwd|oauth_client_secret|scram_(?:client|server)_key)"
_SCHEME = r"(?:\b[a-z][a-z0-9+.-]{0,40}://|\bpostgres(?:ql)?:/)"
_USER = r"(?!\[[0-9a-f:.]*\])[^:@/?#\s]*"  # none is [::1]
_PORT = r"\d{1,5}(?![\w@])[^\s@]*(?:\s|$)"
# one that is not closed goes to the end of the line
_QUOTED = r"""'(?:[^'\\\n]|\\.)*(?:'|$)|"(?:[^"\\\n]|\\.)*\""""
_ENDS = r"[\s,;)}\]&'\"]"
_LONGEST = 2000  # more would take seconds to look for in a long line of colons


def _compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in patterns)


# of each pattern the last group is hidden
_IN_URIS = _compiled(
    # scheme://user:password@host: to the quote that closes it, or to the last @ on the line
    # before another URI, or to the last @ of the word; a password may hold anything unescaped
    rf"(?<=(['\"])){_SCHEME}{_USER}:(?!\*\*\*@|{_PORT})((?:(?!\1(?:\W|$)|://).){{1,{_LONGEST}}})@",
    rf"(?<!['\"]){_SCHEME}{_USER}:(?!\*\*\*@|{_PORT})(?!@)([^:\n]*(?::(?!//)[^:\n]*)*)@",
    rf"{_SCHEME}{_USER}:(?!\*\*\*@|{_PORT})(\S{{1,{_LONGEST}}})@",
    # user:password@host, of a URI that lost its beginning; no address after mailto:
    r"(?<![^\s/'\"(\[{<=,;|`])(?!mailto:|postgres(?:ql)?:/)[^\s/:@'\"(){}\[\]<>=,;|`]{1,200}:"
    rf"(?!//|\*\*\*@|\S{{0,{_LONGEST}}}://)(\S{{1,{_LONGEST}}})@(?=[\w\[/.-])",
)
_BY_KEYWORD = _compiled(
    # password=…, a conninfo's: bare, with escaped spaces, or quoted; not a comparison
    rf"(?<![?&\w]){_KEYS}\s*=(?!=\s)\s*(?!\*\*\*(?:{_ENDS}|$))"
    rf"((?:{_QUOTED})(?:(?!{_ENDS}).)*|(?:\\.|\S)+)",
    # 'password': '…', of a dict's repr or JSON
    rf"(['\"]){_KEYS}\1\s*:\s*(?!None\b|null\b)(b?(?:{_QUOTED})|[^\s,}}\])]+)",
)
_IN_QUERY = re.compile(r"[?&]([^\s?&=]+)=([^\s&]+)")
_KEY = re.compile(_KEYS, re.IGNORECASE)

# of what libpq and others read without doubt: where in it the password is
_HOST = r"(?:\[[0-9a-f:.]*\]|[\w.%~-]*)(?::\d*)?"
_URI = re.compile(
    r"(?P<scheme>(?:jdbc:)?[a-z][a-z0-9+.-]*)://"
    r"(?:[^\s:@/?#]*(?::(?P<password>[^\s@/?#]*))?@)?"
    rf"{_HOST}(?:,{_HOST})*"
    r"(?:/[^\s@?#]*)?"
    r"(?:\?(?P<query>[^\s#]*))?",
    re.IGNORECASE,
)
_STRAY_PERCENT = re.compile(r"%(?![0-9a-f]{2})", re.IGNORECASE)
_PARAMETER = re.compile(r"([\w.%-]+)=([^&=]*)(?:&|$)")
_CONNINFO = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\']|\\.)*)(?:\s+|$)", re.DOTALL)
_NAME = re.compile(r"(?!.*://)(?:[^=@:/\s]*@)?[^=@]*", re.DOTALL)
_WORD = re.compile(r"[^\s@/?#:&='\",;%]+")
_LIBPQ = """
service user password passfile channel_binding connect_timeout dbname host hostaddr port
client_encoding options application_name fallback_application_name keepalives keepalives_idle
keepalives_interval keepalives_count tcp_user_timeout sslmode sslcompression sslcert sslkey
sslpassword sslrootcert sslcrl sslcrldir sslsni sslcertmode sslnegotiation sslkeylogfile
ssl_min_protocol_version ssl_max_protocol_version min_protocol_version max_protocol_version
requirepeer require_auth gssencmode gssdelegation krbsrvname gsslib replication
target_session_attrs load_balance_hosts scram_client_key scram_server_key oauth_issuer
oauth_client_id oauth_client_secret oauth_scope
"""
KEYWORDS = frozenset(_LIBPQ.split())
"""What libpq, of any version, calls the parameters of a connection."""
_MEANT_AS_URI = re.compile(r"^(?:[\w+.-]+:/+)?[^:/@=]*:(?!/)(.+)@", re.DOTALL)


def shown_name(name: str) -> str:
    """Return the name of a database as it may be shown: one that may be a connection string.

    Of a connection string that can't be read without doubt any part may belong to a password, as
    may a parameter that nobody knows, and all that follows a password with such a parameter in it.
    """
    if _NAME.fullmatch(name):
        return name
    found = parameters_in(name)
    if found is None or any(not (one.is_known or one.is_certain) for one in found):
        return _HIDDEN
    hidden = [(one.begin, one.end) for one in found if one.is_secret or not one.is_known]
    return _hide(name, [(begin, end) for begin, end in hidden if begin < end])


class Parameter(NamedTuple):
    """One parameter in a connection string: its name, and where its value stands."""

    name: str
    begin: int
    end: int
    is_certain: bool
    """Its name can't be a piece of a password that should have been quoted."""

    @property
    def is_known(self) -> bool:
        """Whether libpq knows it."""
        return self.name in KEYWORDS

    @property
    def is_secret(self) -> bool:
        """Whether its value is."""
        return _KEY.fullmatch(self.name) is not None


def parameters_in(text: str) -> list[Parameter] | None:
    """Return the parameters of a connection string; None if libpq may read it in another way.

    Of a URI these are the password and what follows the `?`.
    """
    found: list[Parameter] = []
    certain = True
    pattern, position, end = _CONNINFO, 0, len(text)
    if uri := _URI.fullmatch(text):
        if _STRAY_PERCENT.search(text):
            return None
        pattern, position = _PARAMETER, end if uri["query"] is None else uri.start("query")
        if uri["password"]:
            found.append(Parameter("password", *uri.span("password"), is_certain=True))
            certain = "@" not in text[position:]  # the last one may be that before the host
    while position < end:
        match = pattern.match(text, position)
        if match is None:
            return None
        one = Parameter(unquote(match[1]), *match.span(2), is_certain=certain)
        certain = certain and not one.is_secret
        found.append(one)
        position = match.end()
    return found


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with the passwords of connection strings, and these secrets, hidden."""
    known = [re.escape(secret) for secret in secrets if len(secret) >= _SHORTEST]
    while True:  # until nothing is left: each round hides something, or is the last
        spans = [*_in_uris(text), *_last_groups(_BY_KEYWORD, text)]
        spans += [match.span() for secret in known for match in re.finditer(secret, text)]
        hidden = _hide(text, spans)
        if hidden == text:
            return text
        text = hidden


def secrets_in(text: str, environ: Mapping[str, str] | None = None) -> set[str]:
    """Return the passwords in a connection string, and PGPASSWORD's, as a driver may quote them.

    As they stand, decoded, and escaped as in a URI or a conninfo; of one that should have been
    escaped in a URI also the pieces that a parser would take for a host or a port.
    """
    environ = os.environ if environ is None else environ
    in_uris = {text[begin:end] for begin, end in _in_uris(text)}
    in_uris |= set(_MEANT_AS_URI.findall(text))
    in_uris |= {piece for raw in in_uris for piece in re.split(r"[@/?#:&\s]", raw)}
    plain = {environ.get("PGPASSWORD", "")} | {unquote(raw) for raw in in_uris}
    plain |= {_unquoted(text[begin:end]) for begin, end in _last_groups(_BY_KEYWORD, text)}
    found = in_uris | plain
    found |= {secret.replace("\\", "\\\\").replace("'", "\\'") for secret in plain}
    found |= {quote(secret, safe="") for secret in plain}
    if shown_name(text) == _HIDDEN:  # a driver may quote any word of it
        found |= set(_WORD.findall(text)) - KEYWORDS
    else:
        parameters = () if _NAME.fullmatch(text) else parameters_in(text) or ()
        for one in parameters:
            if not one.is_known:
                found |= {text[one.begin : one.end], *_WORD.findall(text[one.begin : one.end])}
    return found - {"", _HIDDEN}


def _in_uris(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from _last_groups(_IN_URIS, text)
    for match in _IN_QUERY.finditer(text):
        if _KEY.fullmatch(unquote(match[1])):  # keywords may be encoded as well
            yield match.span(2)


def _last_groups(patterns: tuple[re.Pattern[str], ...], text: str) -> Iterator[tuple[int, int]]:
    for pattern in patterns:
        for match in pattern.finditer(text):
            yield match.span(pattern.groups)


def _hide(text: str, spans: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    done = 0
    for begin, end in sorted(spans):
        if not parts or begin > done:  # what overlaps or touches is hidden as one
            parts += [text[done:begin], _HIDDEN]
        done = max(done, end)
    return "".join([*parts, text[done:]])


def _unquoted(value: str) -> str:
    """Return what a quoted or escaped value of a conninfo or of Python stands for."""
    quoted = re.match(r"""b?(['"])((?:[^\\]|\\.)*)\1""", value, re.DOTALL)
    return re.sub(r"\\(.)", r"\1", quoted[2] if quoted else value, flags=re.DOTALL)
