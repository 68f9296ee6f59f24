"""A terminal of so many columns, and what it was sent."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\]8;.*?\x1b\\")


def open_terminal(width: int) -> tuple[int, int]:
    """Return the end that the screen is read from, and the one for the process to be shown."""
    screen, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    return screen, terminal


def read_all(screen: int) -> str:
    """Return what a terminal was sent until nobody has it open."""
    raw = b""
    while True:
        try:
            piece = os.read(screen, 65_536)
        except OSError:  # how a terminal's end is told
            break
        raw += piece
    os.close(screen)
    return raw.decode()


def without_colours(text: str) -> str:
    """Return it without what a terminal does not show: colours and the addresses of links."""
    return _COLOURS.sub("", text)
