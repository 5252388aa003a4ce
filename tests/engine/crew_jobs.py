"""What the crews of test_processes.py do; their processes import it, too."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


class Job:
    """Adds *number*; *here* is the process that nothing odd happens in, *folder* where processes leave word."""

    def __init__(self, number: int, folder: str = "") -> None:
        self.number, self.folder, self.here = number, folder, os.getpid()


def add(job: Job, item: int, stop: threading.Event) -> tuple[int, int]:
    time.sleep(0.02)
    return job.number + item, os.getpid()


def fail_elsewhere(job: Job, item: int, stop: threading.Event) -> int:
    if os.getpid() != job.here:
        Path(job.folder, str(item)).touch()
        raise KeyError(item)
    return job.number + item


def fail_at_three(job: Job, item: int, stop: threading.Event) -> int:
    if item == 3:
        raise ValueError("three")
    return item


def die_elsewhere(job: Job, item: int, stop: threading.Event) -> int:
    if os.getpid() != job.here:
        os._exit(7)
    return job.number + item


def sleep_elsewhere(job: Job, item: int, stop: threading.Event) -> int:
    if os.getpid() != job.here:
        Path(job.folder, str(os.getpid())).touch()
        time.sleep(60)
    while not stop.wait(0.01):
        pass
    return item
