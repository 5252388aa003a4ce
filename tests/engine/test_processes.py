"""Other processes that help: the same results, whatever happens to them, and none left over."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import crew_jobs
import pytest
from crew_jobs import Job
from rasterml.engine import processes
from rasterml.engine.errors import Canceled
from rasterml.engine.processes import Crew
from rasterml.engine.progress import Progress
from rasterml.engine.workers import ordered_map

HERE = str(Path(__file__).resolve().parent)


@pytest.fixture(autouse=True)
def processes_know_the_jobs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)


def run(crew, items=range(20), progress=None):
    return list(ordered_map(crew, items, crew.seats, progress or Progress()))


def settled(crew) -> Crew:
    """The crew once its processes have started or failed to."""
    for helper in crew._helpers:
        assert helper._settled.wait(60)
    return crew


def is_gone(process: int) -> bool:
    """Tell whether a process ends within two seconds."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("count", [2, 3])
def test_all_processes_do_items_and_results_keep_their_order(count):
    with Crew(crew_jobs.add, Job(5), threads=8, processes=count) as crew:
        assert crew.seats == count
        results = run(settled(crew))

    assert [number for number, _ in results] == [5 + item for item in range(20)]
    workers = {process for _, process in results}
    assert len(workers) == count and os.getpid() in workers
    assert all(is_gone(process) for process in workers - {os.getpid()})


def test_nobody_waits_for_a_process_to_start(monkeypatch):
    monkeypatch.setattr(processes._Helper, "_start", lambda *_: None)
    with Crew(crew_jobs.add, Job(5), threads=2, processes=2) as crew:
        assert run(crew) == [(5 + item, os.getpid()) for item in range(20)]


def test_one_process_means_threads_in_this_one():
    with Crew(crew_jobs.add, Job(1), threads=3, processes=1) as crew:
        assert crew.seats == 3
        assert {process for _, process in run(crew)} == {os.getpid()}


def test_items_that_fail_elsewhere_are_done_here(tmp_path):
    with Crew(crew_jobs.fail_elsewhere, Job(1, str(tmp_path)), 2, 2) as crew:
        assert run(settled(crew)) == [1 + item for item in range(20)]
    assert list(tmp_path.iterdir())


def test_an_error_is_raised_as_it_would_be_here():
    with Crew(crew_jobs.fail_at_three, Job(1), 2, 2) as crew, pytest.raises(ValueError, match="three"):
        run(settled(crew))


def test_a_process_that_dies_is_done_without(caplog):
    with Crew(crew_jobs.die_elsewhere, Job(2), 2, 2) as crew:
        assert run(settled(crew)) == [2 + item for item in range(20)]
    assert "lost" in caplog.text


@pytest.mark.parametrize("python", ["no such file", sys.executable], ids=["no interpreter", "program fails"])
def test_a_process_that_does_not_start_is_done_without(python, monkeypatch, caplog):
    """Neither where there is no interpreter nor where the program fails at once."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(processes, "PROGRAM", "raise SystemExit")
    monkeypatch.setattr(processes, "_python", lambda: python)
    with Crew(crew_jobs.add, Job(3), 2, 2) as crew:
        assert {process for _, process in run(settled(crew))} == {os.getpid()}
    assert "No other process helps" in caplog.text


def test_another_numpy_is_not_asked(monkeypatch, caplog):
    """Its results could differ in the last bit."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(processes, "_versions", lambda: ["3.0", "0.1"])
    with Crew(crew_jobs.add, Job(3), 2, 2) as crew:
        assert {process for _, process in run(settled(crew))} == {os.getpid()}
    assert "instead of" in caplog.text


def test_cancel_ends_the_processes_in_the_middle_of_an_item(tmp_path):
    class CanceledOnceBothWork(Progress):
        since = 0.0

        def is_canceled(self) -> bool:
            if any(tmp_path.iterdir()):
                self.since = self.since or time.monotonic()
            return bool(self.since)

    progress = CanceledOnceBothWork()
    with pytest.raises(Canceled), Crew(crew_jobs.sleep_elsewhere, Job(0, str(tmp_path)), 2, 2) as crew:
        run(settled(crew), progress=progress)

    assert time.monotonic() - progress.since < 1
    [word] = tmp_path.iterdir()
    assert is_gone(int(word.name))


def test_leaving_at_once_leaves_no_process():
    with Crew(crew_jobs.add, Job(0), 2, 3) as crew:
        pass
    for helper in settled(crew)._helpers:
        assert helper._process is None or is_gone(helper._process.pid)


def test_leaving_while_something_is_still_to_be_sent(monkeypatch):
    def start(helper, function, job):
        process = helper._opened()
        process.kill()
        process.wait()
        process.stdin.write(b"in vain")
        helper._settled.set()

    monkeypatch.setattr(processes._Helper, "_start", start)
    with Crew(crew_jobs.add, Job(0), 2, 2) as crew:
        settled(crew)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """As they do when it is killed: its end of their standard input is closed."""
    with Crew(crew_jobs.sleep_elsewhere, Job(0, str(tmp_path)), 2, 2) as crew:
        process = settled(crew)._helpers[0]._process
        process.stdin.close()
        assert process.wait(5) == 1


def test_inside_qgis_another_python_on_the_path_is_not_asked(monkeypatch, tmp_path):
    (tmp_path / "python3").touch()
    monkeypatch.setattr(processes, "_program", lambda: tmp_path / "qgis_process.bin")
    assert sys.executable != processes._python() == str(tmp_path / "python3")
    monkeypatch.setattr(processes, "_program", lambda: tmp_path / "python3.11")
    assert processes._python() == sys.executable


def test_inside_qgis_the_interpreter_stands_beside_it(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "qgis-bin.exe"))
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    assert processes._python() == str(tmp_path / "bin" / "python3")
    (tmp_path / "bin" / "python3").unlink()
    with pytest.raises(OSError, match="no Python interpreter"):
        processes._python()
