"""One fork server for the tests of this process, as the runs of any process share one.

To start it takes more time than most of the copies. It serves each run that would inherit the same:
a test that changes the environment, the limits or the working directory has another one.
"""

from __future__ import annotations

from pipecopy.workers.script import modules_to_preload
from pipecopy.workers.servers import ForkServer, fork_servers

_NEEDED = ("pytest", "tests.support.drivers")
"""What the modules of the tests' pools import: in each worker it would take 0.2 s."""
_taken: list[ForkServer] = []


def keep_fork_server() -> None:
    """Keep the one that there is, or another if no run can use it any more."""
    server = fork_servers.take([*modules_to_preload(), *_NEEDED])
    give_back_fork_server()
    _taken.append(server)


def give_back_fork_server() -> None:
    """Have none that is kept."""
    while _taken:
        fork_servers.give_back(_taken.pop())
    fork_servers.stop_idle()


def stop_other_fork_servers() -> None:
    """Stop those that only wait for another run, and the one that is kept if it was retired."""
    if any(not fork_servers._of(server).reusable for server in _taken):
        give_back_fork_server()
    fork_servers.stop_idle()
