"""Work done by a Dask cluster: the workers get this engine, the job once, and pieces of work in small numbers.

Dask is optional and imported when a scheduler is named.  A lost worker's tiles run again on the others.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import zipfile
from collections import deque
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, TypeVar

from .errors import ClusterError, MissingLibraryError
from .progress import Progress
from .workers import POLL_SECONDS, one_blas_thread

Result = TypeVar("Result")

PACKAGE = __name__.partition(".")[0]
ENGINE = Path(__file__).resolve().parent
CONNECT_SECONDS = 10
GONE = "The scheduler is gone: start it again, then run again (RESUME keeps finished tiles)."
AHEAD = 2  # items per worker thread that are under way or wait to be taken


def cluster_map(
    function: Callable[[Any, Any, threading.Event], Result],
    job: Any,
    items: Iterable[Any],
    scheduler: str,
    progress: Progress,
) -> Iterator[Result]:
    """Yield ``function(job, item, stop)`` for every item, in order, computed by the workers of *scheduler*.

    *function* is a module's own, *job* and *items* can be pickled.  *progress* is asked every 0.1 s whether to go
    on; when it raises, the cluster's tasks are cancelled.  Raises `MissingLibraryError` and `ClusterError`.
    """
    client = _connected(scheduler)
    waiting: deque = deque()
    try:
        _upload_engine(client)
        # A task, not scattered data: Dask can make it again when the worker that holds it is lost.
        shared = client.submit(_same, job, pure=False)
        most = AHEAD * max(1, sum(client.nthreads().values()))
        source = iter(items)
        exhausted = False
        while True:
            while not exhausted and len(waiting) < most:
                item = next(source, None)
                if item is None:
                    exhausted = True
                else:
                    waiting.append(client.submit(_work, function, shared, item, pure=False, priority=-len(waiting)))
            if not waiting:
                return
            yield _result(client, waiting.popleft(), progress)
    finally:
        _leave(client, list(waiting))


def _leave(client, futures: list) -> None:
    """Take *futures* back and close the connection, also to a scheduler that is gone."""
    if client.status == "running":
        client.cancel(futures, force=True)
    with contextlib.suppress(*_disconnected()):
        client.close(timeout=POLL_SECONDS)


def _same(job: Any) -> Any:
    return job


def _work(function: Callable, job: Any, item: Any) -> Any:
    with one_blas_thread:
        return function(job, item, _Withdrawn())


class _Withdrawn(threading.Event):
    """Set when the client no longer wants the task that this worker is at: Dask itself lets it go on."""

    def __init__(self) -> None:
        from distributed import get_worker

        super().__init__()
        self._worker = get_worker()
        self._key = self._worker.get_current_task()

    def is_set(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        return task is None or task.state == "cancelled"


def _connected(scheduler: str):
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingLibraryError(
            "SCHEDULER needs Dask, which this QGIS does not have: install python3-distributed (Debian, Ubuntu) or the "
            "package distributed from PyPI, or leave SCHEDULER empty to work on this machine."
        ) from error
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # a time-out is an OSError
        raise ClusterError(
            f"SCHEDULER {scheduler} does not answer: start it with `dask scheduler`, check host and port, "
            "or leave SCHEDULER empty to work on this machine."
        ) from error
    if not client.nthreads():
        client.close(timeout=POLL_SECONDS)
        raise ClusterError(f"SCHEDULER {scheduler} has no workers: start some with `dask worker {scheduler}`.")
    return client


def _result(client, future, progress: Progress) -> Any:
    """Return what *future* computes; an error of the work is raised as it was, one of the cluster as `ClusterError`."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    while client.status == "running" and not done.wait(POLL_SECONDS):
        progress.check()
    progress.check()
    error: BaseException | None = None
    try:
        if future.status == "finished":
            return future.result()
        if future.status == "error":
            error = future.exception()
    except _disconnected() as lost:
        raise ClusterError(GONE) from lost
    if error is None:  # cancelled or lost, with the connection
        raise ClusterError(GONE)
    if type(error).__module__.startswith(PACKAGE):
        raise error
    raise ClusterError(f"The cluster could not do a part of the work ({error}): look into the logs of its workers.")


def _disconnected() -> tuple[type[BaseException], ...]:
    """Return what is raised when the connection is lost; these modules are late because a map without Dask is not."""
    import asyncio
    from concurrent.futures import CancelledError

    return OSError, asyncio.TimeoutError, asyncio.CancelledError, CancelledError


def _upload_engine(client) -> None:
    """Send this engine to all workers, also to those that join later."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(ENGINE.parent / "__init__.py", f"{PACKAGE}/__init__.py")
        for module in sorted(ENGINE.glob("*.py")):
            archive.write(module, f"{PACKAGE}/engine/{module.name}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{PACKAGE}_engine.zip"
        path.write_bytes(content.getvalue())
        client.upload_file(str(path))
