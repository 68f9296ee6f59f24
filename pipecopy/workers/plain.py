"""What a `Database` returns, as values that any process can unpickle and compare."""

from __future__ import annotations

from typing import Any

from pipecopy.contracts import Column, Fit, TableDescription
from pipecopy.workers.telling import cut

_PLAIN = (bool, int, float, str, bytes, type(None))


def plain(value: Any) -> Any:
    """Return it as values of Python's own and of this package's; what is neither, as its repr."""
    if isinstance(value, TableDescription):
        return TableDescription(
            table=value.table,
            key=value.key,
            columns=tuple(Column(name=c.name, type=c.type) for c in value.columns),
            identity=value.identity,
            problems=tuple(value.problems),
            warnings=tuple(value.warnings),
            checksums=tuple(value.checksums),
            definition=plain(value.definition),
            state=plain(value.state),
            server=None if value.server is None else (str(value.server[0]), int(value.server[1])),
        )
    if isinstance(value, Fit):
        return Fit(problems=tuple(value.problems), warnings=tuple(value.warnings))
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return cut(repr(value))
