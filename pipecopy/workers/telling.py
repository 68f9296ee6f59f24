"""Telling what a driver raised, in plain values: no exception of its own leaves the worker."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from pipecopy.contracts import ServerChangedError, TableChangedError
from pipecopy.redact import redact, secrets_in
from pipecopy.workers.messages import Raised, Reason

_MOST_TEXT = 8_000
"""Characters of a driver's message or traceback that are passed on."""
_MOST_CAUSES = 5


class Telling:
    """Tells of exceptions, and hides the passwords that it knows wherever they stand."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = set(secrets)

    def hide(self, connection: str) -> None:
        """Hide the passwords of this connection string from now on."""
        self._secrets |= secrets_in(connection)

    def cut(self, text: str) -> str:
        """Return the text without passwords, and not too long."""
        return cut(text, self._secrets)

    def raised(self, error: BaseException, *, connected: bool) -> Raised:
        """Return what was raised; never raises."""
        try:
            return Raised(
                driver_error=_name(error),
                message=self._text(error),
                sqlstate=_sqlstate(error),
                traceback=cut(self._traceback(error), self._secrets, tail=True),
                reason=_reason(error),
                connected=connected,
                differences=self._differences(error),
                saved_rows_stand=_saved_rows_stand(error),
            )
        except Exception:  # noqa: BLE001 - some driver's exception does not like to be looked at
            name = str(type.__getattribute__(type(error), "__name__"))
            return Raised(name, "it can't be shown", None, "", "error", connected=connected)

    def _differences(self, error: BaseException) -> tuple[str, ...]:
        if not isinstance(error, TableChangedError):
            return ()
        return tuple(self.cut(str(difference)) for difference in error.differences)

    def _text(self, error: BaseException) -> str:
        try:
            return self.cut(str(error))
        except Exception:  # noqa: BLE001 - a driver's own __str__
            return "its message can't be shown"

    def _traceback(self, error: BaseException | None) -> str:
        """Return the traceback with those of its causes before it, and each message cut."""
        parts: list[str] = []
        while error is not None and len(parts) < _MOST_CAUSES:
            frames = "".join(traceback.format_tb(error.__traceback__))
            what = f"{_name(error)}: {self._text(error)}"
            parts.append(f"Traceback (most recent call last):\n{frames}{what}\n")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nwhich led to\n\n".join(reversed(parts))


def cut(text: str, secrets: Iterable[str] = (), *, tail: bool = False) -> str:
    """Return the text without passwords, its beginning or its tail where it is too long."""
    length = len(text)
    # passwords first, or a cut could leave half of one without what tells it
    text = redact(text[-4 * _MOST_TEXT :] if tail else text[: 4 * _MOST_TEXT], secrets)
    if length > _MOST_TEXT:
        text = text[-_MOST_TEXT:] if tail else text[:_MOST_TEXT]
        text = f"… {text}" if tail else f"{text} … ({length} characters)"
    # a lone surrogate would make the message unprintable
    return text.encode(errors="backslashreplace").decode()


def _name(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ in {"builtins", "__main__", "__mp_main__"}:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: BaseException) -> Reason:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ServerChangedError):
        return "server changed"
    return "table changed" if isinstance(error, TableChangedError) else "error"


def _saved_rows_stand(error: BaseException) -> bool:
    if isinstance(error, TableChangedError):
        return error.saved_rows_stand
    return not isinstance(error, ServerChangedError)


def _sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE, where psycopg, psycopg2 or pg8000 keep it."""
    codes = [getattr(error, "sqlstate", None), getattr(error, "pgcode", None)]
    if error.args and isinstance(error.args[0], dict):
        codes.append(error.args[0].get("C"))
    return next((code for code in codes if isinstance(code, str)), None)
