"""Interrupted runs go on where they stopped, and only where nothing changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.errors import Canceled, SettingError, StorageError
from rasterml.engine.images import Image
from rasterml.engine.journal import MARK, RECORD, Journal, fingerprint
from rasterml.engine.learners import CLASSIFICATION, REGRESSION
from rasterml.engine.models import save_model
from rasterml.engine.prediction import predict_image
from rasterml.engine.progress import Progress
from rasterml.engine.tiles import Window
from rasterml.engine.tiling import Tiling
from small_models import PREDICTORS, small_forest

ROOT = Path(__file__).resolve().parents[2]
TILES = 20  # of 32 pixels: 4 × 5


class StopAt(Progress):
    """Cancels when so much of the work is done."""

    def __init__(self, share: float) -> None:
        self.wanted, self.done = share, 0.0

    def is_canceled(self) -> bool:
        return self.done >= self.wanted

    def share(self, share: float) -> None:
        self.done = share


@pytest.fixture
def image(tmp_path):
    """Three bands of 100 × 130 pixels in one file, its left part masked."""
    path = tmp_path / "scene.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 130, 100, 3, gdal.GDT_Float32)
    values = np.random.default_rng(1).normal(size=(3, 100, 130)) * [[[12]], [[0.2]], [[400]]]
    values += [[[50]], [[0.3]], [[1000]]]
    values[0, :, :40] = -1
    dataset.WriteArray(values)
    dataset.SetGeoTransform((500_000, 10, 0, 4_200_000, 0, -10))
    for number, name in enumerate(PREDICTORS, 1):
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).SetNoDataValue(-1)
    dataset = None
    return path


def read(path) -> np.ndarray:
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray()


def run(image, model, output, **more):
    options = {"tile_size": 32, "threads": 1, "resume": True, **more}
    image = image if isinstance(image, Image) else Image([str(image)])
    return predict_image(image, model, str(output), **options)


def interrupt(image, model, output, **more) -> Path:
    """Cancel a run when about half of its tiles are written; return its journal."""
    with pytest.raises(Canceled):
        run(image, model, output, progress=StopAt(0.72), **more)
    assert not output.exists()
    return output.with_name(f".{output.name}.resume")


def finished(journal: Path) -> int:
    return journal.read_bytes().count(MARK) - 1  # the first record is the fingerprint


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
def test_continued_run_equals_an_uninterrupted_one_and_computes_only_the_rest(mode, image, tmp_path, monkeypatch):
    model, output = small_forest(mode), tmp_path / "map.tif"
    whole = predict_image(Image([str(image)]), model, str(tmp_path / "whole.tif"))
    kept = finished(interrupt(image, model, output))
    computed = []
    original = Tiling.read
    monkeypatch.setattr(Tiling, "read", lambda self, *rest: computed.append(1) or original(self, *rest))

    counts = run(image, model, output)

    assert 5 <= kept < TILES
    assert len(computed) == TILES - kept
    assert counts == whole
    assert np.array_equal(read(output), read(tmp_path / "whole.tif"), equal_nan=True)
    assert not list(tmp_path.glob(".map*"))


def test_run_that_is_continued_says_how_much_it_takes_over(image, tmp_path):
    said = []

    class Listener(Progress):
        def message(self, text: str) -> None:
            said.append(text)

    kept = finished(interrupt(image, small_forest(), tmp_path / "map.tif"))
    run(image, small_forest(), tmp_path / "map.tif", progress=Listener())

    assert f"{kept} tiles of an interrupted run are taken over." in said


def test_run_without_resume_keeps_nothing(image, tmp_path):
    with pytest.raises(Canceled):
        run(image, small_forest(), tmp_path / "m.tif", resume=False, progress=StopAt(0.7))

    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_journal_goes_when_the_map_is_made_without_it(image, tmp_path):
    journal = interrupt(image, small_forest(), tmp_path / "map.tif")

    run(image, small_forest(seed=9), tmp_path / "map.tif", resume=False)

    assert not journal.exists()


def changed_pixel(image: Path) -> None:
    """Change one pixel, but neither size nor time of the file."""
    before = image.stat()
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(bytes(content))
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (image.stat().st_size, image.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model", "the model"),
        ("pixel", r"an input raster \(scene\.tif\)"),
        ("mode", "OUTPUT_MODE"),
        ("mask", "MASK"),
        ("extent", "EXTENT"),
        ("side", "TILE_SIZE"),
        ("nodata", "PROBABILITY_TYPE or NODATA"),
        ("resampling", "RESAMPLING"),
    ],
)
def test_changed_run_is_refused_and_says_what_changed_and_the_way_out(change, said, image, tmp_path):
    output, forest, more = tmp_path / "map.tif", small_forest(), {}
    journal = interrupt(image, forest, output)
    scene = Image([str(image)])
    if change == "model":
        forest = small_forest(seed=9)
    elif change == "pixel":
        changed_pixel(image)
    elif change == "mode":
        more["mode"] = "PROBABILITY"
    elif change == "mask":
        more["mask"] = scene.select(["nir"])
    elif change == "extent":
        more["window"] = Window(0, 0, 100, 129)
    elif change == "side":
        more["tile_size"] = 40
    elif change == "nodata":
        more["nodata"] = 1
    else:
        scene = Image([str(image)], resampling="cubic")

    with pytest.raises(SettingError, match=rf"RESUME cannot continue .*map\.tif: .*{said}.* changed .* or delete "):
        run(scene, forest, output, **more)

    assert not output.exists() and journal.exists()
    assert not list(tmp_path.glob(".*.part*"))


def test_mask_that_changed_is_refused(image, tmp_path):
    path = tmp_path / "mask.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 130, 100, 1, gdal.GDT_Byte)
    dataset.WriteArray(np.ones((100, 130)))
    dataset.SetGeoTransform((500_000, 10, 0, 4_200_000, 0, -10))
    dataset = None
    scene = Image([str(image)])
    interrupt(image, small_forest(), tmp_path / "map.tif", mask=Image([str(path)], grid=scene.grid))
    changed_pixel(path)

    with pytest.raises(SettingError, match=r"an input raster \(mask\.tif\) changed"):
        run(image, small_forest(), tmp_path / "map.tif", mask=Image([str(path)], grid=scene.grid))


def test_source_of_a_vrt_that_changed_is_refused(image, tmp_path):
    vrt = tmp_path / "scene.vrt"
    gdal.BuildVRT(str(vrt), [str(image)]).FlushCache()
    names = ",".join(PREDICTORS)
    interrupt(Image([str(vrt)], band_names=names), small_forest(), tmp_path / "map.tif")
    changed_pixel(image)

    with pytest.raises(SettingError, match=r"an input raster \(scene\.tif\) changed"):
        run(Image([str(vrt)], band_names=names), small_forest(), tmp_path / "map.tif")


def test_file_that_was_only_touched_or_got_statistics_is_the_same(image, tmp_path):
    interrupt(image, small_forest(), tmp_path / "map.tif")
    os.utime(image, ns=(1, 1))
    image.with_name("scene.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")

    run(image, small_forest(), tmp_path / "map.tif")

    assert (tmp_path / "map.tif").exists()


# A journal that is damaged


@pytest.mark.parametrize("damage", ["cut", "turned bit", "garbage behind", "zeros behind"])
def test_damaged_end_is_ignored_from_there_on(damage, image, tmp_path, monkeypatch):
    journal = interrupt(image, small_forest(), tmp_path / "map.tif")
    kept, content = finished(journal), journal.read_bytes()
    if damage == "cut":
        journal.write_bytes(content[:-7])
    elif damage == "turned bit":
        at = content.index(MARK, len(content) // 2) + RECORD.size + 90  # in the middle of a tile's numbers
        journal.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    else:
        journal.write_bytes(content + (b"\0" * 500 if damage == "zeros behind" else MARK + b"\xff" * 60))
    computed = []
    original = Tiling.read
    monkeypatch.setattr(Tiling, "read", lambda self, *rest: computed.append(1) or original(self, *rest))

    run(image, small_forest(), tmp_path / "map.tif")

    lost = {"cut": 1, "garbage behind": 0, "zeros behind": 0, "turned bit": content.count(MARK, len(content) // 2)}
    assert TILES - len(computed) == kept - lost[damage]
    predict_image(Image([str(image)]), small_forest(), str(tmp_path / "whole.tif"))
    assert np.array_equal(read(tmp_path / "map.tif"), read(tmp_path / "whole.tif"))


@pytest.mark.parametrize("content", [b"", b"RM", b"something else altogether" * 9])
def test_journal_without_a_fingerprint_begins_anew(content, image, tmp_path):
    (tmp_path / ".map.tif.resume").write_bytes(content)

    run(image, small_forest(), tmp_path / "map.tif")

    assert (tmp_path / "map.tif").exists() and not (tmp_path / ".map.tif.resume").exists()


def test_tiles_come_back_as_they_were_kept(tmp_path):
    a, b = Window(0, 0, 2, 3), Window(0, 3, 2, 1)
    values = np.array([[[0.5, np.nan, -7], [1, 2, 3]]], np.float32)
    journal = Journal(tmp_path / "map.tif", {"model": "x"})
    journal.add(a, values)
    journal.add(b, None)

    again = Journal(tmp_path / "map.tif", {"model": "x"})

    assert again.tiles == 2 and again.has(a) and again.has(b) and not again.has(Window(0, 0, 2, 4))
    assert np.array_equal(again.values(a), values, equal_nan=True) and again.values(a).dtype == np.float32
    assert again.values(b).size == 0
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_once_do_not_share_a_journal(tmp_path):
    first, second = (Journal(tmp_path / "map.tif", {"model": "x"}) for _ in range(2))
    first.add(Window(0, 0, 1, 1), np.zeros((1, 1, 1)))

    with pytest.raises(StorageError, match="is written by another run, too"):
        second.add(Window(0, 0, 1, 1), np.zeros((1, 1, 1)))


def test_full_disk_keeps_the_tiles_before(tmp_path, limited_file_size):
    journal = Journal(tmp_path / "map.tif", {"model": "x"})
    noise = np.random.default_rng(0).random((1, 50, 50))
    journal.add(Window(0, 0, 50, 50), noise)
    with limited_file_size(30_000), pytest.raises(StorageError, match=r"map\.tif\.resume cannot be written"):
        journal.add(Window(0, 50, 50, 50), noise)

    again = Journal(tmp_path / "map.tif", {"model": "x"})

    assert again.tiles == 1
    assert np.array_equal(again.values(Window(0, 0, 50, 50)), noise)


def test_fingerprint_can_be_cancelled_and_is_plain(image):
    class Canceling(Progress):
        def is_canceled(self) -> bool:
            return True

    plain = fingerprint(small_forest(), [str(image)], EXTENT=Window(0, 0, 1, 1))
    assert json.loads(json.dumps(plain)) == plain
    with pytest.raises(Canceled):
        fingerprint(None, [str(image)], Canceling())


# A process that is killed


def test_files_of_killed_runs_are_removed_and_those_of_living_ones_are_not(image, tmp_path):
    from rasterml.engine.files import temporary_name

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    name = temporary_name(tmp_path / "map.tif").name
    dead = [name.replace(f".{os.getpid()}-", f".{gone.pid}-") + more for more in ("", ".aux.xml", ".ovr.tmp")]
    alive = [name, name.replace(f".{os.getpid()}-", f".{os.getppid()}-"), dead[0].replace("map", "other")]
    elsewhere = f".map.{gone.pid}-0badc0de-12345678.part.tif"  # another machine's on a shared disk
    for each in (*dead, *alive, elsewhere):
        (tmp_path / each).write_text("left")

    run(image, small_forest(), tmp_path / "map.tif", resume=False)

    there = {path.name for path in tmp_path.iterdir()}
    assert not there & set(dead)
    assert {*alive, elsewhere, "map.tif"} <= there


KILLED = textwrap.dedent(
    """
    import importlib.util, os, random, signal, sys, threading, time
    spec = importlib.util.spec_from_file_location(
        "rasterml", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
    module = importlib.util.module_from_spec(spec)
    sys.modules["rasterml"] = module
    spec.loader.exec_module(module)
    import contextlib
    with contextlib.suppress(ImportError):
        import sklearn.tree  # once, and not in every child
    from rasterml.engine.images import Image
    from rasterml.engine.models import load_model
    from rasterml.engine.prediction import predict_image
    from rasterml.engine.progress import Progress
    image, model, output, kills = sys.argv[2:]

    class Killer(Progress):
        # ends the process some time after a share of the work is done: in the middle of whatever it then does
        def __init__(self, share, seconds):
            self.wanted, self.seconds = share, seconds

        def share(self, share):
            if share >= self.wanted:
                self.wanted = 2
                threading.Thread(target=self.kill, daemon=True).start()

        def kill(self):
            time.sleep(self.seconds)
            os.kill(os.getpid(), signal.SIGKILL)

    def run(path, progress):
        # in a process of its own, forked from this one, which has everything imported and no thread
        child = os.fork()
        if not child:
            predict_image(Image([image]), load_model(model), path, tile_size=16, threads=2, resume=True,
                          progress=progress)
            os._exit(0)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status := os.waitpid(child, 0)[1]) else -os.WTERMSIG(status)

    draw = random.Random(7)
    for number in range(int(kills)):
        path = f"{output}/{number}.tif"
        killed = run(path, Killer(draw.uniform(0.02, 0.95), draw.uniform(0, 0.004)))
        complete = os.path.exists(path)
        print(number, killed, complete, run(path, Progress()), flush=True)
    """
)


def test_run_killed_at_any_moment_is_continued_to_the_same_map_twenty_times(image, tmp_path):
    save_model(small_forest(), tmp_path / "forest.rasterml")
    maps = tmp_path / "maps"
    maps.mkdir()
    predict_image(Image([str(image)]), small_forest(), str(tmp_path / "whole.tif"))
    arguments = [str(ROOT), str(image), str(tmp_path / "forest.rasterml"), str(maps), "20"]

    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 20 and all(again == "0" for *_, again in lines)
    assert sum(killed == "-9" for _, killed, *_ in lines) >= 15  # a fast machine may finish before the signal comes
    for number, killed, complete, _ in lines:
        assert (killed, complete) in (("-9", "False"), ("0", "True"), ("-9", "True"))
        assert np.array_equal(read(maps / f"{number}.tif"), read(tmp_path / "whole.tif"))
    assert not [path.name for path in maps.iterdir() if path.name.startswith(".")]
