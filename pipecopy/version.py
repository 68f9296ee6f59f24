"""Which version of pipecopy this is."""

from __future__ import annotations


def installed_version() -> str | None:
    """Return it; None if pipecopy is not installed, but run from a checkout or an archive."""
    from importlib import metadata  # noqa: PLC0415 - loads the parser of e-mail: only here

    try:
        return metadata.version("pipecopy")
    except metadata.PackageNotFoundError:
        return None
