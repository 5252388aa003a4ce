"""Work in several threads, in order, with bounded memory, that stops at once when told to.

The threads are daemons that nobody waits for long: a scikit-learn fit cannot be interrupted, and a thread pool's
workers are joined at exit.  A function that runs here holds no file that must be closed.  Threads that have nothing
left to do are waited for, though: one that still closes its rasters while Python ends aborts the program.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from typing import Callable, Iterable, Iterator, TypeVar, cast

from .errors import EngineError
from .progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_SECONDS = 0.1
FAREWELL_SECONDS = 5.0  # for threads to end that have no work left
SHORT_FAREWELL_SECONDS = 0.2  # for others


def thread_count(threads: int) -> int:
    """Return *threads*, or the number of cores for 0."""
    return threads if threads > 0 else (os.cpu_count() or 1)


def ordered_map(
    function: Callable[[Item, threading.Event], Result],
    items: Iterable[Item],
    threads: int,
    progress: Progress,
    ahead: int = 2,
) -> Iterator[Result]:
    """Yield ``function(item, stop)`` for every item, in the order of *items*.

    At most ``ahead * threads`` items are under way or wait to be taken.  *progress* is asked every 0.1 s
    whether to go on; when it raises, *stop* is set, which *function* looks at between its own steps.
    An exception in *function* is raised here, at its item's turn.
    """
    count = thread_count(threads)
    stop = threading.Event()
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    waiting: deque[_Task] = deque()

    def work() -> None:
        while True:
            task = tasks.get()
            if task is None:
                return
            if not stop.is_set():
                task.run(function, stop)

    started: list[threading.Thread] = []
    farewell = SHORT_FAREWELL_SECONDS
    source = iter(items)
    exhausted = False
    try:
        while True:
            while not exhausted and len(waiting) < ahead * count:
                try:
                    task = _Task(next(source))
                except StopIteration:
                    exhausted = True
                    break
                waiting.append(task)
                tasks.put(task)
                if len(started) < count:
                    started.append(threading.Thread(target=work, daemon=True))
                    started[-1].start()
            if not waiting:
                farewell = FAREWELL_SECONDS
                return
            task = waiting.popleft()
            while not task.done.wait(POLL_SECONDS):
                progress.check()
            progress.check()
            if task.error is not None:
                raise task.error
            yield cast(Result, task.result)
    finally:
        stop.set()
        for _ in started:
            tasks.put(None)
        end = time.monotonic() + farewell
        for thread in started:
            thread.join(max(0.0, end - time.monotonic()))


class OneBlasThread:
    """Keeps matrix products in the thread that asks for them, as long as anyone is inside: ``with one_blas_thread:``.

    Runs may overlap, and BLAS's number of threads is the whole program's: the first run limits it, the last one
    releases it.  Without threadpoolctl, which comes with scikit-learn, products may be slower.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit = contextlib.ExitStack()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._start()
            self._inside += 1

    def __exit__(self, *error) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.close()

    def _start(self) -> None:
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            return
        self._limit.enter_context(threadpool_limits(1, "blas"))


one_blas_thread = OneBlasThread()


class _Task:
    def __init__(self, item) -> None:
        self.item = item
        self.result = None
        self.error: BaseException | None = None
        self.done = threading.Event()

    def run(self, function, stop: threading.Event) -> None:
        try:
            self.result = function(self.item, stop)
        except BaseException as error:  # handed to the caller, which raises it
            self.error = error
            if isinstance(error, EngineError):
                # Its message says all.  PyQGIS keeps exceptions for ever: this thread's frames would keep files open.
                error.__traceback__ = error.__context__ = error.__cause__ = None
        finally:
            self.done.set()
