"""Work shared with other processes of this Python: threads that often call numpy wait for each other's lock.

Another process gets the engine, the work's function and job once, and then items, through a connection that only this
program knows the key of.  It only helps: what it cannot do, because it does not start, was killed or met an error, is
done here again, so that a run never fails for it and an exception is the one that the caller would see without it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import queue
import secrets
import subprocess
import sys
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .errors import Canceled
from .workers import POLL_SECONDS

PACKAGE = __name__.partition(".")[0]
FOLDER = Path(__file__).resolve().parent.parent
# The package may have another folder, or be no child of sys.path: it is loaded by its path, under its name here.
PROGRAM = """
import importlib, importlib.util, sys
name, folder = sys.argv[1:]
spec = importlib.util.spec_from_file_location(name, folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
importlib.import_module(name + ".engine.processes").serve()
"""
ENVIRONMENT = {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
FAREWELL_SECONDS = 2.0
BROKEN = (OSError, EOFError, ValueError, AuthenticationError)

logger = logging.getLogger(__name__)


class Crew:
    """Calls ``function(job, item, stop)`` in as many threads as it has ``seats``: ``crew(item, stop)``.

    One thread works itself, each of the others hands its items to a process of its own.  *function* is a module's own;
    *job*, items and results can be pickled.  Leaving the context ends the processes, also in the middle of an item.
    """

    def __init__(self, function: Callable[[Any, Any, threading.Event], Any], job: Any, threads: int, processes: int):
        """Start ``processes - 1`` processes; with one process all *threads* work themselves."""
        self.function, self.job = function, job
        self._helpers = [_Helper(function, job) for _ in range(processes - 1)]
        self.seats = processes if self._helpers else threads
        self._free: queue.SimpleQueue = queue.SimpleQueue()
        for helper in [*[None] * (self.seats - len(self._helpers)), *self._helpers]:
            self._free.put(helper)

    def __call__(self, item: Any, stop: threading.Event) -> Any:
        helper = self._free.get()
        try:
            answer = helper.ask(item, stop) if helper else None
            return answer[0] if answer else self.function(self.job, item, stop)
        finally:
            self._free.put(helper)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error) -> None:
        for helper in self._helpers:
            helper.leave()


class _Helper:
    """Another process, which starts meanwhile."""

    def __init__(self, function: Callable, job: Any) -> None:
        self._connection: Connection | None = None
        self._process: subprocess.Popen | None = None
        self._settled = threading.Event()  # it has started, or will never
        self._lock = threading.Lock()  # of starting against leaving
        self._left = False
        threading.Thread(target=self._start, args=(function, job), daemon=True).start()

    def ask(self, item: Any, stop: threading.Event) -> tuple[Any] | None:
        """Return the result in a tuple, None when it cannot be had (yet); raises `Canceled` once *stop* is set."""
        connection = self._connection
        if connection is None:
            return None
        try:
            connection.send(item)
            while not connection.poll(POLL_SECONDS):
                _check(stop)
            return connection.recv()
        except BROKEN as error:
            self._connection = None
            if self._left:
                raise Canceled() from error
            logger.warning("A process was lost (%s); this one goes on without it.", error)
            return None

    def leave(self) -> None:
        """End the process, at once; its time then counts as this process's own."""
        with self._lock:
            self._left = True
            process = self._process
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream:
                with contextlib.suppress(OSError):  # what was still to be sent to it
                    stream.close()
        # Its memory takes a while to be given back; no daemon waits, so that the program does not end before it.
        threading.Thread(target=_wait, args=(process,)).start()

    def _start(self, function: Callable, job: Any) -> None:
        key = secrets.token_hex(16)
        try:
            process = self._opened()
            if process is None or not process.stdin or not process.stdout:
                return
            process.stdin.write(key.encode() + b"\n")
            process.stdin.flush()
            hello = json.loads(process.stdout.readline())
            if hello["versions"] != _versions():
                raise ValueError(f"it has {hello['versions']} instead of {_versions()}")
            connection = Client(hello["address"], authkey=key.encode())
            connection.send((function, job))
            connection.recv()
            self._connection = connection
        except BROKEN as error:
            if not self._left:
                logger.info("No other process helps (%s).", error)
        finally:
            self._settled.set()

    def _opened(self) -> subprocess.Popen | None:
        """Return the new process, None when nobody waits for it any more."""
        command = [_python(), "-c", PROGRAM, PACKAGE, str(FOLDER)]
        apart: dict[str, Any] = {"start_new_session": True}  # Ctrl-C is for the program
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NO_WINDOW}
        with self._lock:
            if not self._left:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=FOLDER,
                    env={**os.environ, **ENVIRONMENT}, **apart,
                )  # fmt: skip
            return self._process


def serve() -> None:
    """Be the other process: do items until the one that started this one is gone."""
    key = sys.stdin.buffer.readline().strip()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # An abstract name leaves no file behind, and only Linux has them.
    with Listener(f"\0{PACKAGE}-{secrets.token_hex(16)}" if sys.platform == "linux" else None, authkey=key) as listener:
        sys.stdout.write(json.dumps({"address": os.fsdecode(listener.address), "versions": _versions()}) + "\n")
        sys.stdout.flush()
        connection = listener.accept()
    function, job = connection.recv()
    connection.send(None)
    stop = threading.Event()  # nobody sets it: this process is killed
    while True:
        item = connection.recv()
        try:
            answer = (function(job, item, stop),)
        except BaseException:  # found again, and raised, where somebody can tell of it
            answer = None
        connection.send(answer)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def _wait(process: subprocess.Popen) -> None:
    try:
        process.wait(FAREWELL_SECONDS)
    except subprocess.TimeoutExpired:
        logger.warning("A process does not end.")


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Canceled()


def _python() -> str:
    """Return the interpreter; inside QGIS ``sys.executable`` can be QGIS, or whatever python3 is first on the PATH."""
    folder, program = Path(sys.exec_prefix), _program()
    beside = [] if program.stem.startswith("python") else [program.with_name("python3")]
    for path in (*beside, Path(sys.executable), folder / "python.exe", folder / "bin" / "python3"):
        if path.stem.lower().startswith("python") and path.exists():
            return str(path)
    raise OSError("there is no Python interpreter beside QGIS")


def _program() -> Path:
    """Return the file that this process runs; where the system does not tell, one that is not there."""
    return Path("/proc/self/exe").resolve()


def _versions() -> list[str]:
    return [platform.python_version(), np.__version__]
