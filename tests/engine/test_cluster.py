"""Maps made by a real Dask scheduler and two worker processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, NamedTuple

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.cluster import AHEAD, cluster_map
from rasterml.engine.errors import Canceled, ClusterError, MissingLibraryError, RasterError
from rasterml.engine.images import Image
from rasterml.engine.prediction import predict_image
from rasterml.engine.progress import Progress
from small_models import PREDICTORS, small_forest

SECONDS = 30


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


class Started(NamedTuple):
    address: str
    workers: list[subprocess.Popen]
    scheduler: subprocess.Popen


@contextlib.contextmanager
def started(folder, count: int) -> Iterator[Started]:
    """A scheduler with *count* single-threaded workers, each a process of its own."""
    distributed = pytest.importorskip("distributed", reason="Dask is optional and not installed")
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    scheduler = subprocess.Popen([*dask, "scheduler", "--host", address, "--no-dashboard"], **quiet)
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    workers = [subprocess.Popen(worker, **quiet) for _ in range(count)]
    try:
        with distributed.Client(address, timeout=SECONDS, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=SECONDS)
        yield Started(address, workers, scheduler)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with started(tmp_path_factory.mktemp("dask"), 2) as running:
        yield running


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "scene.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 230, 200, 3, gdal.GDT_Float32)
    values = np.random.default_rng(1).normal(size=(3, 200, 230)) * [[[12]], [[0.2]], [[400]]]
    values += [[[50]], [[0.3]], [[1000]]]
    values[1, 50:120, 20:90] = -1
    dataset.WriteArray(values)
    for number, name in enumerate(PREDICTORS, 1):
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).SetNoDataValue(-1)
    dataset = None
    return path


def read(path) -> np.ndarray:
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray()


@pytest.mark.parametrize("mode", ["CLASSIFICATION", "MULTIPROBABILITY"])
def test_cluster_makes_the_same_map_as_this_machine(mode, cluster, image, tmp_path):
    options = {"tile_size": 32}
    here = predict_image(Image([str(image)]), small_forest(), str(tmp_path / "here.tif"), mode, **options)

    there = predict_image(
        Image([str(image)]), small_forest(), str(tmp_path / "there.tif"), mode, scheduler=cluster[0], **options
    )

    assert here == there
    assert np.array_equal(read(tmp_path / "here.tif"), read(tmp_path / "there.tif"), equal_nan=True)


def test_warped_image_travels_to_the_workers(cluster, image, tmp_path):
    grid = Image([str(image)]).grid.scaled(2.0)

    for name, scheduler in (("here", ""), ("there", cluster[0])):
        warped = Image([str(image)], resampling="bilinear", grid=grid)
        predict_image(warped, small_forest(), str(tmp_path / f"{name}.tif"), tile_size=32, scheduler=scheduler)

    assert np.array_equal(read(tmp_path / "here.tif"), read(tmp_path / "there.tif"))


class StopAfter(Progress):
    def __init__(self, tiles: int) -> None:
        self.tiles, self.done = tiles, 0

    def is_canceled(self) -> bool:
        return self.done >= self.tiles

    def share(self, share: float) -> None:
        self.done += 1


def test_cancel_stops_the_clusters_tasks_and_resume_goes_on(cluster, image, tmp_path):
    import distributed

    output = tmp_path / "map.tif"
    with pytest.raises(Canceled):
        predict_image(
            Image([str(image)]), small_forest(), str(output), tile_size=16, scheduler=cluster[0], resume=True,
            progress=StopAfter(50),
        )  # fmt: skip
    assert (tmp_path / ".map.tif.resume").stat().st_size > 1000

    with distributed.Client(cluster[0], set_as_default=False) as client:
        end = time.monotonic() + SECONDS
        while any(client.processing().values()) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(client.processing().values())
    assert not output.exists()
    predict_image(Image([str(image)]), small_forest(), str(output), tile_size=16, scheduler=cluster[0], resume=True)
    predict_image(Image([str(image)]), small_forest(), str(tmp_path / "whole.tif"))
    assert np.array_equal(read(output), read(tmp_path / "whole.tif"))


def wait_for(held, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_cancel_reaches_the_task_that_a_worker_is_at(cluster, tmp_path):
    """Dask does not interrupt a task: the engine's own must see that nobody wants it any more."""

    def endless(job, item, stop):  # a function of this one's, so that it travels by value
        (Path(job) / f"{item} begun").touch()
        while not stop.is_set():
            time.sleep(0.02)
        (Path(job) / f"{item} ended").touch()

    class StopWhenBegun(Progress):
        def is_canceled(self) -> bool:
            return len(list(tmp_path.glob("* begun"))) == 2

    with pytest.raises(Canceled):
        next(cluster_map(endless, str(tmp_path), range(20), cluster.address, StopWhenBegun()))

    wait_for(lambda: len(list(tmp_path.glob("* ended"))) == 2, 5)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == 4  # no other one began


def test_items_are_handed_out_as_results_are_taken(cluster):
    handed = []

    def items():
        for number in range(100):
            handed.append(number)
            yield number

    def double(job, item, stop):
        return job * item

    results = cluster_map(double, 2, items(), cluster.address, Progress())
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    time.sleep(0.5)
    assert len(handed) <= 2 * AHEAD + 3
    results.close()


def test_scheduler_that_dies_is_one_sentence_and_the_finished_tiles_stay(image, tmp_path):
    (tmp_path / "dask").mkdir()
    with started(tmp_path / "dask", 1) as running:

        class Killer(StopAfter):
            def share(self, share: float) -> None:
                super().share(share)
                if self.done == 20:
                    running.scheduler.kill()

        with pytest.raises(ClusterError, match="The scheduler is gone: start it again, then run again"):
            predict_image(
                Image([str(image)]), small_forest(), str(tmp_path / "map.tif"), tile_size=16, resume=True,
                scheduler=running.address, progress=Killer(10**9),
            )  # fmt: skip

    assert not (tmp_path / "map.tif").exists() and (tmp_path / ".map.tif.resume").exists()
    predict_image(Image([str(image)]), small_forest(), str(tmp_path / "map.tif"), tile_size=16, resume=True)
    predict_image(Image([str(image)]), small_forest(), str(tmp_path / "whole.tif"))
    assert np.array_equal(read(tmp_path / "map.tif"), read(tmp_path / "whole.tif"))


def test_error_of_the_work_arrives_as_it_was(cluster, image, tmp_path):
    broken = tmp_path / "scene.tif"
    content = image.read_bytes()
    broken.write_bytes(content[: len(content) // 2])

    with pytest.raises(RasterError, match=r"scene\.tif cannot be read at rows"):
        predict_image(
            Image([str(broken)]), small_forest(), str(tmp_path / "map.tif"), tile_size=32, scheduler=cluster[0]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_unreachable_scheduler_is_one_sentence(image, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="Dask is optional and not installed")
    monkeypatch.setattr("rasterml.engine.cluster.CONNECT_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"

    with pytest.raises(ClusterError, match=f"SCHEDULER {address} does not answer"):
        predict_image(Image([str(image)]), small_forest(), str(tmp_path / "map.tif"), scheduler=address)
    assert list(tmp_path.iterdir()) == []


def test_missing_dask_is_one_sentence(image, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(MissingLibraryError, match="SCHEDULER needs Dask, which this QGIS does not have: install"):
        predict_image(Image([str(image)]), small_forest(), str(tmp_path / "map.tif"), scheduler="tcp://127.0.0.1:1")


def test_killed_worker_changes_nothing(cluster, image, tmp_path):
    """Runs last: it kills one of the module's workers."""

    class Killer(StopAfter):
        def share(self, share: float) -> None:
            super().share(share)
            if self.done == 10:
                os.kill(cluster[1][0].pid, signal.SIGKILL)

    killer = Killer(10**9)
    output = str(tmp_path / "map.tif")
    predict_image(Image([str(image)]), small_forest(), output, tile_size=16, scheduler=cluster[0], progress=killer)
    predict_image(Image([str(image)]), small_forest(), str(tmp_path / "whole.tif"))

    assert cluster[1][0].wait(SECONDS) == -signal.SIGKILL
    assert np.array_equal(read(output), read(tmp_path / "whole.tif"))
