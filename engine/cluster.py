"""Tiles worked on by a Dask cluster: the workers get this engine, the job once, and tiles in small numbers.

Dask is optional and imported when a scheduler is named.  A lost worker's tiles run again on the others.
"""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
from collections import deque
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, TypeVar

from .errors import ClusterError, MissingLibraryError
from .progress import Progress
from .workers import POLL_SECONDS

Result = TypeVar("Result")

PACKAGE = __name__.partition(".")[0]
ENGINE = Path(__file__).resolve().parent
CONNECT_SECONDS = 10
AHEAD = 3  # tiles per worker thread that are under way or wait to be taken


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
        client.cancel(list(waiting), force=True)
        client.close(timeout=POLL_SECONDS)


def _same(job: Any) -> Any:
    return job


def _work(function: Callable, job: Any, item: Any) -> Any:
    return function(job, item, threading.Event())


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
    while not done.wait(POLL_SECONDS):
        progress.check()
        if client.status != "running":
            raise ClusterError("The scheduler is gone: start it again, then run again (RESUME keeps finished tiles).")
    progress.check()
    if future.status != "finished":
        error = future.exception()
        if type(error).__module__.startswith(PACKAGE):
            raise error
        raise ClusterError(f"The cluster could not work on a tile ({error}): look into the logs of its workers.")
    return future.result()


def _upload_engine(client) -> None:
    """Send this engine to all workers, also to those that join later."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.write(ENGINE.parent / "__init__.py", f"{PACKAGE}/__init__.py")
        for module in sorted(ENGINE.glob("*.py")):
            archive.write(module, f"{PACKAGE}/engine/{module.name}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{PACKAGE}_engine.zip"
        path.write_bytes(content.getvalue())
        client.upload_file(str(path))
