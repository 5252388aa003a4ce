"""Many images of the same place as one collection, and the variables that its pixels are regressed on."""

from __future__ import annotations

import functools
import itertools
import operator
import re
from typing import Callable, Iterator, Sequence

import numpy as np

from .errors import RasterError, SettingError
from .images import Grid, Image
from .rasters import Band, Raster, common_storage
from .reducers import CONSTANT, TIME
from .scratch import Scratch
from .tiles import Window

ORDER = "order"
IMAGES_AT_ONCE = 16  # read between two looks at whether to go on; they stay near the processor until they are used
_HARMONIC = re.compile(r"(cos|sin)_([1-9]\d*)")


class ImageCollection:
    """Images on the grid of the first one, each with bands of the same names; any thread may read.

    ``texts`` holds, for each image, the texts in which its date may stand, as (source, text).
    """

    def __init__(
        self, images: Sequence[Image], band_names: Sequence[str], texts: Sequence[Sequence[tuple[str, str]]]
    ) -> None:
        self._images, self.band_names, self.texts = list(images), tuple(band_names), list(texts)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def grid(self) -> Grid:
        return self._images[0].grid

    @property
    def paths(self) -> list[str]:
        """The files, each once, in order."""
        return list(dict.fromkeys(path for image in self._images for path in image.paths))

    @property
    def sample_type(self) -> type:
        """The float type that holds every value."""
        return np.float64 if any(image.sample_type is np.float64 for image in self._images) else np.float32

    @property
    def block_size(self) -> tuple[int, int]:
        """The most rows and columns that any of the files reads at once."""
        sizes = {size for image in self._images for size in image.block_sizes}
        return max(rows for rows, _ in sizes), max(columns for _, columns in sizes)

    def select(self, names: Sequence[str]) -> ImageCollection:
        """Return the collection of the bands *names*, in this order.

        An image that knows none of the collection's names, but has as many bands, has them taken by order.  Raises
        `RasterError` for a band that is missing.
        """
        return ImageCollection([self._selected(image, names) for image in self._images], names, self.texts)

    def read(self, window: Window, check: Callable[[], None], keep_open: bool = True) -> np.ndarray:
        """Return the pixels of *window*, row by row, as (bands, images, pixels) of `sample_type`, NaN where masked.

        *check* is called before each image.  Without *keep_open* each image is closed once read.  Raises `RasterError`.
        """
        kind = self.sample_type
        shape = len(self.band_names), len(self._images), window.rows * window.columns
        values: np.ndarray = np.empty(shape, dtype=kind)
        for position, image in enumerate(self._images):
            check()
            values[:, position] = image.read(window, kind).values.reshape(shape[0], shape[2])
            if not keep_open:
                image.close()
        return values

    @functools.cached_property
    def stored(self) -> Band | None:
        """A band like those of all images, where each has one and `read_stored` can read them."""
        bands = [band for band in (image.stored for image in self._images) if band]
        return common_storage(bands) if len(bands) == len(self) and len(self.band_names) == 1 else None

    def read_stored(
        self, window: Window, scratch: Scratch, check: Callable[[], None], keep_open: bool = True
    ) -> Iterator[np.ndarray]:
        """Yield the pixels of *window* as the files store them, masked or not; else as `read`.

        `IMAGES_AT_ONCE` (images, pixels) come at once, in an array that the next ones overwrite.
        """
        dtype = self.stored and self.stored.dtype
        sources = [source for image in self._images for source in image.sources()]
        for start in range(0, len(sources), IMAGES_AT_ONCE):
            check()
            some = sources[start : start + IMAGES_AT_ONCE]
            values = scratch.array("stored", (len(some), window.rows, window.columns), dtype)
            first = 0
            for raster, run in itertools.groupby(some, key=operator.itemgetter(0)):
                numbers = [number for _, number in run]
                raster.read_stored(numbers, window, values[first : first + len(numbers)])
                first += len(numbers)
                if not keep_open:
                    raster.close()
            yield values.reshape(len(some), -1)

    def table(self) -> list[str]:
        """Return one line per band of the first image for the log."""
        return self._images[0].table()

    def _selected(self, image: Image, names: Sequence[str]) -> Image:
        if set(names) <= set(image.band_names):
            return image.select(names)
        there = image.band_names
        if len(there) == len(self.band_names) and not set(there) & set(self.band_names):
            there = self.band_names
        missing = [name for name in names if name not in there]
        if not missing:
            return image.select([image.band_names[there.index(name)] for name in names])
        raise RasterError(
            f"{image.paths[0]} has no band {', '.join(missing)}: it has {', '.join(there)}. Rename the bands "
            "of all images with BAND_NAMES, or choose others."
        )


def open_collection(paths: Sequence[str], band_names: str = "", resampling: str = "nearest") -> ImageCollection:
    """Return the collection in which each raster is an image; *band_names* renames the bands of each.

    Raises `RasterError` for a raster that cannot be opened or brought onto the grid of the first.
    """
    images: list[Image] = []
    texts = []
    for path in paths:
        image = Image([path], "", band_names, resampling, images[0].grid if images else None)
        images.append(image)
        raster = Raster(path)
        texts.append([("file name", raster.name), *_descriptions(raster)[:1]])
        raster.close()
        image.close()
    if not images:
        raise RasterError("No raster is given: choose at least one.")
    return ImageCollection(images, images[0].band_names, texts)


def open_bands(paths: Sequence[str], band_name: str = "") -> ImageCollection:
    """Return the collection in which each band of the one raster in *paths* is an image of one band.

    That band is called *band_name*, else after the file.  Raises `RasterError`, and `SettingError` for more rasters.
    """
    if len(paths) != 1:
        raise SettingError(f"BANDS_ARE_IMAGES takes one raster, not {len(paths)}: switch it off, or choose one.")
    path = paths[0]
    raster = Raster(path)
    stack = Image([path])
    name = re.sub(r"[^A-Za-z0-9_]", "_", band_name.strip() or raster.name)
    images = [stack.select([band]) for band in stack.band_names]
    return ImageCollection(images, [name], [[each] for each in _descriptions(raster)])


def built_in(name: str, times: np.ndarray) -> np.ndarray | None:
    """Return the variable *name* that every image has, (images,), or None when *name* is none.

    ``constant`` is 1, ``time`` is *times*, ``order`` 0, 1, 2, ... in the order of the images, ``cos_k`` and ``sin_k``
    go through k cycles in a unit of time, which is a year for dates.
    """
    if name == CONSTANT:
        return np.ones(len(times))
    if name == TIME:
        return times
    if name == ORDER:
        return np.arange(len(times), dtype=np.float64)
    harmonic = _HARMONIC.fullmatch(name)
    if harmonic is None:
        return None
    angle = 2 * np.pi * np.mod(int(harmonic[2]) * times, 1)
    return np.cos(angle) if harmonic[1] == "cos" else np.sin(angle)


def harmonics(cycles: int) -> list[str]:
    """Return the names cos_1, sin_1, ... of the built-in variables for up to *cycles* cycles a year."""
    return [f"{function}_{number}" for number in range(1, cycles + 1) for function in ("cos", "sin")]


def _descriptions(raster: Raster) -> list[tuple[str, str]]:
    return [("band description", band.description) for band in raster.bands]
