"""Dask: an executor whose tasks run on the workers of a cluster.

The scheduler runs a task again whose worker is gone, up to its `allowed-failures`, and needs no
pipecopy itself: what it gets is opened on the workers alone. Everything that is waited for here is
waited for within a limit, in a thread of its own, since a scheduler may be reachable and hang.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import pickle
import platform
import threading
import uuid
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pipecopy.errors import ConfigError, HostError, PipecopyError
from pipecopy.units import seconds_text
from pipecopy.version import installed_version
from pipecopy.workers.script import modules_to_preload
from pipecopy.workers.servers import fork_servers

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_SCHEMES = ("tcp", "tls", "ws", "wss")
_LAST_WORDS = 0.2
"""Seconds in which the scheduler is told that the client goes."""
_READY = 30.0
"""Seconds for which a worker keeps what the next shard needs."""
_CHECK = 5.0
"""Seconds in which the workers say what they have: one that hangs is not waited for."""


@contextmanager
def cluster(address: str, *, limit: float = 10.0) -> Iterator[Executor]:
    """Connect to the scheduler at an address such as `tls://host:8786`, for as long as the block.

    `limit` is in seconds: for the connection, and for a new one if it is lost. Certificates are
    those of Dask's own configuration (`distributed.comm.tls`).

    Raises ConfigError for a wrong address, for certificates that are missing, and for a worker
    without this version of pipecopy; HostError if the scheduler can't be reached in time.
    """
    if wrong := wrong_address(address):
        raise ConfigError(f"the address of the Dask scheduler, {address!r}, {wrong}")
    distributed = _import_distributed()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_log_unhandled)  # by itself it writes to standard error
    thread = threading.Thread(target=loop.run_forever, name="pipecopy-dask", daemon=True)
    thread.start()
    executor = _Dask(distributed, loop, address, limit)
    try:
        executor.connect()
        yield executor
    finally:
        executor.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LAST_WORDS)
        if not thread.is_alive():
            loop.close()


def wrong_address(address: str) -> str | None:
    """Say what is wrong with the address of a scheduler; None if nothing is."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not valid: it must be like tls://host:8786"
    if parts.scheme not in _SCHEMES or not host or not port:
        return f"must be {', '.join(f'{each}://' for each in _SCHEMES)} with a host and a port"
    return None


def _import_distributed() -> Any:
    """Import it so that what it logs goes where this program's log goes, if that has one.

    By itself it writes to standard error, unless the program's log has a handler by then.
    """
    root, nobody = logging.getLogger(), logging.NullHandler()
    root.addHandler(nobody)
    try:
        import distributed  # noqa: PLC0415 - half a second, for those who use it
    except ModuleNotFoundError as error:
        if error.name not in {"distributed", "dask"}:
            raise
        raise ConfigError(
            "shards on Dask need the package distributed: pip install 'pipecopy[dask]'"
        ) from error
    finally:
        root.removeHandler(nobody)
    for name in ("distributed", "tornado"):  # else the last resort is standard error
        logging.getLogger(name).addHandler(nobody)
    return distributed


def _log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _log.debug("%s", context["message"], exc_info=context.get("exception"))


class _Called:
    """A call that is made when this is unpickled.

    So a scheduler without pipecopy, which looks at what a task is made of, sees `pickle.loads`
    and bytes; and a worker without it fails in the task, not before.
    """

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._call = (call, args)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


class _Dask(Executor):
    """The executor: each task is followed in the loop of the client."""

    def __init__(
        self, distributed: Any, loop: asyncio.AbstractEventLoop, address: str, limit: float
    ) -> None:
        self._distributed = distributed
        self._loop = loop
        self._address = address
        self._limit = limit
        self._client: Any = None
        self._left = False
        self._prepared = False
        self._avoided: set[str] = set()
        """The workers whose tasks were cancelled under way: they are silent, perhaps."""

    @property
    def encrypts(self) -> bool:
        """Whether what is sent to the workers is; a password should not be sent otherwise."""
        return urlsplit(self._address).scheme in {"tls", "wss"}

    @property
    def address(self) -> str:
        """The scheduler's."""
        return self._address

    # -- for the thread of the caller

    def connect(self) -> None:
        """Connect, and see what the workers have. Raises what `cluster` says."""
        try:
            self._within(self._limit, self._connect)
        except (TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        except (TypeError, ValueError, ImportError) as error:  # as distributed has it
            raise ConfigError(f"the Dask scheduler {self._address}: {error}") from error
        with suppress(TimeoutError, OSError):  # they are asked again if a task fails
            self._within(_CHECK, self._refuse_other_versions)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call on a worker. Raises BrokenExecutor once the scheduler is gone."""
        if kwargs:
            raise TypeError("a task on Dask has no keyword arguments")
        if self._left or self._client.status in {"closing", "closed"}:
            raise BrokenExecutor(str(self._unreachable(None)))
        if not self._prepared:
            self._prepared = True
            asyncio.run_coroutine_threadsafe(self._keep_ready(), self._loop)
        called = pickle.dumps(_Called(fn, args))
        return asyncio.run_coroutine_threadsafe(self._follow(fn.__name__, called), self._loop)

    def close(self) -> None:
        """Leave the cluster, which then forgets the tasks that are not done."""
        self._left = True
        with suppress(Exception):  # there is nothing to be done about it
            self._within(_LAST_WORDS, self._close)

    def _within(self, limit: float, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Wait so long for what is done in the loop. Raises TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return future.result(limit)
        finally:
            future.cancel()

    # -- for the loop

    async def _connect(self) -> None:
        with warnings.catch_warnings():
            # what does not fit is told by the check
            warnings.simplefilter("ignore", self._distributed.versions.VersionMismatchWarning)
            self._client = self._distributed.Client(
                self._address,
                timeout=self._limit,
                set_as_default=False,
                asynchronous=True,
                name="pipecopy",
            )
            await self._client

    async def _close(self) -> None:
        if self._client is not None:
            await self._client._close(fast=True)  # noqa: SLF001 - close() waits ten times as long
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _follow(self, name: str, called: bytes) -> Any:
        """Return what a task returns, or raise what it raises."""
        client = self._client
        others = await self._others()
        task = client.submit(
            pickle.loads,
            called,
            key=f"{name}-{uuid.uuid4().hex}",
            pure=False,
            workers=others,
            allow_other_workers=others is not None,
        )
        try:
            return await task.result()
        except self._distributed.client.FutureCancelledError as error:
            if client.status in {"closing", "closed"}:
                raise self._unreachable(None) from error
            raise RuntimeError(f"Dask has dropped the task: {error}") from error
        except asyncio.CancelledError:
            if client.status not in {"closing", "closed"}:
                await self._avoid_worker_of(task.key)
                await client.cancel([task])
            raise
        except (self._distributed.scheduler.KilledWorker, PipecopyError):
            raise
        except Exception:
            # a worker that came later may lack something
            with suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._refuse_other_versions(), _CHECK)
            raise

    async def _avoid_worker_of(self, key: str) -> None:
        """Give the next tasks to others: to the scheduler a frozen worker seems to be free then."""
        with suppress(TimeoutError, OSError):
            under_way = await asyncio.wait_for(self._client.processing(), _CHECK)
            self._avoided.update(worker for worker, keys in under_way.items() if key in keys)

    async def _others(self) -> list[str] | None:
        """Return the workers that are not avoided; None if any will do."""
        if not self._avoided:
            return None
        with suppress(TimeoutError, OSError):
            workers = await asyncio.wait_for(self._client.nthreads(), _CHECK)
            return [worker for worker in workers if worker not in self._avoided] or None
        return None

    async def _keep_ready(self) -> None:
        """Have all workers ready for a task: one that gets the shard of another begins at once."""
        modules = modules_to_preload()
        while True:
            with suppress(Exception):  # it takes longer then, no more
                await self._client.run(_make_ready, modules, on_error="ignore", wait=False)
            await asyncio.sleep(_READY / 3)

    async def _refuse_other_versions(self) -> None:
        """Raise ConfigError for workers that have another Python or pipecopy than this process."""
        found = await self._client.run(_versions, on_error="return")
        wrong = {worker: text for worker, has in found.items() if (text := _wrong(has))}
        if wrong:
            here = ", ".join(_named(_versions()))
            raise ConfigError(
                "; ".join(f"the Dask worker {worker} has {has}" for worker, has in wrong.items())
                + f": this process has {here}; install the same on each worker"
            )

    def _unreachable(self, error: BaseException | None) -> HostError:
        cause = error.__cause__ if error is not None and error.__cause__ else error
        reason = getattr(cause, "strerror", None) or (str(cause) if cause else "")
        said = f" ({reason})" if reason else ""
        return HostError(
            f"the Dask scheduler {self._address} did not answer within"
            f" {seconds_text(self._limit)}{said}: see whether it runs, and whether the address is"
            " the right one",
            errno=getattr(cause, "errno", None),
        )


async def _make_ready(modules: Sequence[str]) -> None:
    """Have what a shard needs, for a while; runs on the workers, which answer meanwhile."""

    def make_ready() -> None:
        for module in modules:
            with suppress(Exception):
                importlib.import_module(module)
        with suppress(HostError):
            fork_servers.warm(modules, _READY)

    await asyncio.to_thread(make_ready)


def _versions() -> Mapping[str, str]:
    """Return what a shard needs on both sides of the cluster; runs on the workers as well."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "pipecopy": installed_version() or "(not installed)"}


def _named(versions: Mapping[str, str]) -> list[str]:
    return [f"{name} {version}" for name, version in versions.items()]


def _wrong(found: object) -> str | None:
    """Say what a worker has that differs; None if nothing does, or nobody knows."""
    if isinstance(found, Exception) and not isinstance(found, OSError):  # that: it is gone
        return f"no pipecopy that can be imported ({found})"
    if not isinstance(found, Mapping):
        return None
    here = _versions()
    return " and ".join(_named({k: v for k, v in found.items() if here.get(k) != v})) or None
