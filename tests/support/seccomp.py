"""System calls that are refused, as by a container's seccomp profile or by an old kernel."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_NUMBERS = {
    "x86_64": {
        "clone3": 435,
        "memfd_create": 319,
        "pidfd_open": 434,
        "pidfd_send_signal": 424,
        "eventfd2": 290,
        "prctl": 157,
    },
    "aarch64": {
        "clone3": 435,
        "memfd_create": 279,
        "pidfd_open": 434,
        "pidfd_send_signal": 424,
        "eventfd2": 19,
        "prctl": 167,
    },
}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
_NR, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_PR_SET_SECCOMP, _FILTER, _PR_SET_NO_NEW_PRIVS = 22, 2, 38  # linux/prctl.h
MACHINE = platform.machine()
WHY_NOT = "" if MACHINE in _NUMBERS else f"the numbers of its system calls are not known: {MACHINE}"


def refuse(call: str, error: int, first_argument: int | None = None) -> None:
    """Refuse a system call to this process from now on, and to all that it starts.

    With `first_argument`, only if the call has it.
    """
    number = _NUMBERS[MACHINE][call]
    tests = [(_ARCH, _AUDIT_ARCH[MACHINE]), (_NR, number)]
    if first_argument is not None:
        tests.append((_FIRST_ARGUMENT, first_argument))
    program = []
    for place, (offset, value) in enumerate(tests):
        past = 2 * (len(tests) - place - 1) + 1  # to the instruction that allows
        program += [(_LOAD, 0, 0, offset), (_EQUAL, 0, past, value)]
    program += [(_RETURN, 0, 0, _ERRNO | error), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code)
    filter_ = struct.pack("HP", len(program), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER, filter_)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "no seccomp filter can be set")


def main(arguments: list[str]) -> None:
    """Run a program under a filter: CALL ERRNO [FIRST_ARGUMENT] -- PROGRAM ARGUMENT …."""
    split = arguments.index("--")
    call, *numbers = arguments[:split]
    refuse(call, *map(int, numbers))
    os.execvp(arguments[split + 1], arguments[split + 1 :])  # noqa: S606 - in its place


if __name__ == "__main__":
    main(sys.argv[1:])
