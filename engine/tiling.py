"""The tiles of one map: read and masked, predicted one by one or in blocks of many, put back in their places."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Iterable, Iterator, NamedTuple

import numpy as np

from .block_prediction import Work, predict_block, take_step
from .cluster import cluster_map
from .images import Image
from .journal import Journal
from .map_values import encoded, present
from .models import Model
from .predictors import checker, spans
from .processes import Crew
from .progress import Progress
from .sample_types import SampleType
from .shared_arrays import SharedArray
from .tile_plan import Plan
from .tiles import Window
from .workers import ordered_map, thread_count

LEAST_BATCHES = 16  # for a cluster, whose workers shall all have something to do
NOTHING = SharedArray(np.empty((0, 0), np.float32))
BATCH_PIXELS = 2**18  # of a cluster's task where the predictor has no wish


class Result(NamedTuple):
    """A tile's numbers (bands, rows, columns), None when all are no data, and how many pixels have any."""

    values: np.ndarray | None
    predicted: int


class Pixels(NamedTuple):
    """The pixels of *tile* that are to be predicted: where they are (None: nowhere), and float32 (pixels, bands)."""

    tile: Window
    valid: np.ndarray | None
    features: np.ndarray


class Steps:
    """Tells how far a run is: tiles that are written, and where blocks are read first, tiles that are read."""

    def __init__(self, progress: Progress, tiles: int) -> None:
        self.progress, self._tiles, self._read, self._written = progress, tiles, 0, 0

    def read(self) -> None:
        self._read += 1
        self._tell()

    def written(self) -> None:
        self._written += 1
        self._tell()

    def _tell(self) -> None:
        self.progress(max(self._read, self._written) + self._written, 2 * self._tiles)


class Tiling:
    """What the tiles of one run share; `read`, `predict` and `predict_batch` run in several threads at once."""

    def __init__(
        self,
        image: Image,
        mask: Image | None,
        model: Model,
        mode: str,
        window: Window,
        kind: SampleType,
        plan: Plan,
        predictor: Any = None,
        threads: int = 1,
    ) -> None:
        self.image, self.mask, self.model, self.mode, self.window = image, mask, model, mode, window
        self.kind, self.plan, self.threads = kind, plan, threads
        self.predictor = predictor or model.learner.load_predictor(model)
        self.bands = len(self.predictor.bands(mode))

    def __reduce__(self) -> tuple:
        """What travels to a cluster's workers, each of which loads the predictor for itself and has one thread."""
        return Tiling, (self.image, self.mask, self.model, self.mode, self.window, self.kind, self.plan)

    def results(self, tiles: list[Window], journal: Journal | None, scheduler: str, steps: Steps) -> Iterator[Result]:
        """Yield the result of every tile, in order, from the journal of an interrupted run where it is."""
        finished = {tile for tile in tiles if journal and journal.has(tile)}
        rest = [tile for tile in tiles if tile not in finished]
        with contextlib.closing(self._computed(rest, scheduler, steps)) as computed:
            for tile in tiles:
                if journal and tile in finished:
                    yield self._counted(journal.values(tile))
                    continue
                result = next(computed)
                if journal:
                    journal.add(tile, result.values)
                yield result

    def _computed(self, tiles: list[Window], scheduler: str, steps: Steps) -> Any:
        if scheduler:
            return self._on_cluster(tiles, scheduler, steps.progress)
        if self.plan.rows:
            return self._in_blocks(tiles, steps)
        return ordered_map(self.predict, tiles, self.threads, steps.progress)

    # Tile by tile

    def predict(self, tile: Window, stop: threading.Event) -> Result:
        """Return the result of a tile that is predicted for itself."""
        pixels = self.read(tile, stop)
        if pixels.valid is None:
            return Result(None, 0)
        check = checker(stop)
        parts = [
            self.predictor.predict(pixels.features[span], self.mode, check)
            for span in spans(len(pixels.features), self.bands)
        ]
        return self._scattered(pixels.valid, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))

    def read(self, tile: Window, stop: threading.Event) -> Pixels:
        """Return the pixels of *tile* that neither a band nor the mask leaves out."""
        nothing = Pixels(tile, None, np.empty((0, self.image.bands), np.float32))
        window = tile._replace(row=tile.row + self.window.row, column=tile.column + self.window.column)
        valid = self._unmasked(window)
        if valid is not None and not valid.any():
            return nothing
        block = self.image.read(window)
        valid = block.valid if valid is None else block.valid & valid
        if not valid.any():
            return nothing
        values = block.values.reshape(self.image.bands, -1) if valid.all() else block.values[:, valid]
        return Pixels(tile, valid, np.ascontiguousarray(values.T))

    def _unmasked(self, window: Window) -> np.ndarray | None:
        if self.mask is None:
            return None
        block = self.mask.read(window)
        return block.valid & (block.values[0] != 0)

    def _scattered(self, valid: np.ndarray, values: np.ndarray) -> Result:
        """Return the tile whose *valid* pixels have the predictor's *values* (bands, pixels)."""
        numbers = encoded(values, self.kind)
        if numbers.shape[1] == valid.size:
            return self._counted(numbers.reshape(self.bands, *valid.shape))
        result = np.full((self.bands, *valid.shape), self.kind.nodata, dtype=self.kind.dtype)
        result[:, valid] = numbers
        return self._counted(result)

    def _counted(self, values: np.ndarray) -> Result:
        return Result(values, int(np.count_nonzero(present(values[0], self.kind)))) if values.size else Result(None, 0)

    # In blocks

    def _in_blocks(self, tiles: list[Window], steps: Steps) -> Iterator[Result]:
        """Yield the results of *tiles*, predicted in blocks; while one is predicted the next one is read."""
        with self._crew(thread_count(self.threads), self.plan.processes) as crew:
            reads: Any = ordered_map(self.read, tiles, self.threads, steps.progress)
            with contextlib.closing(reads):
                gathered = self._gathered(reads, len(tiles), steps)
                predicted: Any = ordered_map(lambda block, stop: block.predict(crew, stop), gathered, 1, steps.progress)
                with contextlib.closing(predicted):
                    for block in predicted:
                        yield from block.results(self)

    def _crew(self, threads: int, processes: int) -> Crew:
        return Crew(take_step, Work(self.model, self.mode, self.predictor), threads, processes)

    def _gathered(self, reads: Iterable[Pixels], tiles: int, steps: Steps) -> Iterator[_Block]:
        yield _Block(0, self.image.bands)  # during which the predictor makes itself ready
        most = min(self.plan.rows, tiles * self.plan.side**2)
        block = _Block(most, self.image.bands)
        for pixels in reads:
            if not block.has_room(pixels):
                yield block
                block = _Block(most, self.image.bands)
            block.add(pixels)
            del pixels
            steps.read()
        yield block

    # On a cluster

    def _on_cluster(self, tiles: list[Window], scheduler: str, progress: Progress) -> Iterator[Result]:
        side = self.plan.side
        most = max(1, min((self.plan.rows or BATCH_PIXELS) // side**2, -(-len(tiles) // LEAST_BATCHES)))
        batches = [tiles[start : start + most] for start in range(0, len(tiles), most)]
        computed: Any = cluster_map(Tiling.predict_batch, self, batches, scheduler, progress)
        with contextlib.closing(computed):
            for batch in computed:
                yield from batch

    def predict_batch(self, tiles: list[Window], stop: threading.Event) -> list[Result]:
        """Return the results of *tiles*, predicted in one block where the predictor likes that."""
        if not self.plan.rows:
            return [self.predict(tile, stop) for tile in tiles]
        block = _Block(max(1, len(tiles)) * self.plan.side**2, self.image.bands)
        check = checker(stop)
        for tile in tiles:
            check()
            block.add(self.read(tile, stop))
        with self._crew(1, 1) as crew:
            block.predict(crew, stop)
        return list(block.results(self))


class _Block:
    """The pixels of consecutive tiles, side by side, and later what is predicted for them."""

    def __init__(self, most: int, bands: int) -> None:
        """*most* rows and a few times as many pixels have room."""
        self._features = SharedArray.empty((most, bands), np.float32)
        self._values: np.ndarray = np.empty((0, 0), np.float32)
        self._valid: list[np.ndarray | None] = []
        self._most, self._rows, self._pixels = most, 0, 0

    def has_room(self, pixels: Pixels) -> bool:
        many = self._pixels + pixels.tile.rows * pixels.tile.columns > 4 * self._most  # masks take memory, too
        return not self._valid or (self._rows + len(pixels.features) <= self._most and not many)

    def add(self, pixels: Pixels) -> None:
        rows = len(pixels.features)
        self._features.values[self._rows : self._rows + rows] = pixels.features
        self._valid.append(pixels.valid)
        self._rows += rows
        self._pixels += pixels.tile.rows * pixels.tile.columns

    def predict(self, crew: Crew, stop: threading.Event) -> _Block:
        """Put the predictions in the place of the features, and return the block."""
        features, self._features = self._features.first(self._rows), NOTHING
        if len(features):
            self._values = predict_block(crew, features, checker(stop))
        else:
            crew.job.prepare()
        return self

    def results(self, tiling: Tiling) -> Iterator[Result]:
        """Yield the results of the tiles, and forget the predictions."""
        start = 0
        for valid in self._valid:
            rows = 0 if valid is None else int(np.count_nonzero(valid))
            yield Result(None, 0) if valid is None else tiling._scattered(valid, self._values[:, start : start + rows])
            start += rows
        self._values = np.empty((0, 0), np.float32)
