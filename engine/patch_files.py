"""Patches as a file: a TFRecord of tf.train.Example, or an .npz of numpy arrays."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from pathlib import Path
from typing import IO, BinaryIO, Iterable, Iterator, List, NamedTuple, Protocol, Sequence, Union

import numpy as np

from .errors import StorageError
from .files import PathLike, atomic_file
from .patches import Patches
from .tfrecord import Feature, encode_example, record_file, write_records

ENDINGS = (".tfrecord", ".tfrecord.gz", ".npz")
EXAMPLE_INDEX, ARRAY_INDEX = "system:index", "system_index"  # <feature>_<number>, as a TFRecord and an .npz call it


class Property(NamedTuple):
    """What is copied to every patch of a feature: ``values`` by feature, texts or numbers, None where missing."""

    name: str
    text: bool
    values: Union[List[Union[str, None]], List[Union[float, None]]]


class Counts(NamedTuple):
    """How many patches were written, and how many points were dropped."""

    written: int
    dropped: int


def check_ending(path: PathLike) -> None:
    """Raise `StorageError` for a file of another kind."""
    if not str(path).lower().endswith(ENDINGS):
        raise StorageError(f"{path} is no file of patches: choose a name that ends in {', '.join(ENDINGS)}.")


def write_patches(
    path: PathLike, parts: Iterable[Patches], bands: Sequence[str], properties: Sequence[Property]
) -> Counts:
    """Write *parts* to *path*, whose ending says the kind of file; after any exception nothing is left of it.

    Raises `StorageError`, and whatever *parts* raise.
    """
    check_ending(path)
    opened = _array_file if Path(path).suffix.lower() == ".npz" else _example_file
    written = dropped = 0
    with opened(path, bands, properties) as file:
        for part in parts:
            file.add(part)
            written += len(part.feature)
            dropped += part.dropped
    return Counts(written, dropped)


class _PatchFile(Protocol):
    def add(self, part: Patches) -> None: ...


@contextlib.contextmanager
def _example_file(path: PathLike, bands: Sequence[str], properties: Sequence[Property]) -> Iterator[_PatchFile]:
    with record_file(path) as file:
        yield _Examples(file, bands, properties)


class _Examples:
    """One Example per patch: a float list for each band, the properties, the index."""

    def __init__(self, file: BinaryIO, bands: Sequence[str], properties: Sequence[Property]) -> None:
        self._file, self._bands, self._properties = file, bands, properties

    def add(self, part: Patches) -> None:
        write_records(self._file, map(encode_example, self._examples(part)))

    def _examples(self, part: Patches) -> Iterator[dict[str, Feature]]:
        for feature, number, values in zip(part.feature.tolist(), part.number.tolist(), part.values):
            yield {
                **dict(zip(self._bands, values)),
                **{item.name: _as_list(item, feature) for item in self._properties if item.values[feature] is not None},
                EXAMPLE_INDEX: [_index(feature, number).encode()],
            }


@contextlib.contextmanager
def _array_file(path: PathLike, bands: Sequence[str], properties: Sequence[Property]) -> Iterator[_PatchFile]:
    with atomic_file(path) as file, tempfile.TemporaryFile(dir=Path(path).parent) as spool:
        arrays = _Arrays(spool, bands, properties)
        yield arrays
        arrays.write(file)


class _Arrays:
    """An array for each band and each property, stored as ``np.savez`` does.

    How long the arrays are is known when the last part is there: until then the parts wait in *spool*.
    """

    def __init__(self, spool: IO[bytes], bands: Sequence[str], properties: Sequence[Property]) -> None:
        self._spool, self._bands, self._properties = spool, bands, properties
        self._parts: list[Patches] = []  # without values

    def add(self, part: Patches) -> None:
        values = part.values.astype("<f4", copy=False).swapaxes(0, 1)
        self._spool.write(np.ascontiguousarray(values).data)
        self._parts.append(part._replace(values=part.values[:0].copy()))

    def write(self, file: IO[bytes]) -> None:
        feature = np.concatenate([part.feature for part in self._parts])
        number = np.concatenate([part.number for part in self._parts])
        side = self._parts[0].values.shape[-1]
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(feature), side, side)}
        with zipfile.ZipFile(file, "w") as archive:
            for position, band in enumerate(self._bands):
                with _member(archive, band) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    self._copy(position, side * side * 4, member)
            for item in self._properties:
                with _member(archive, item.name) as member:
                    np.lib.format.write_array(member, _as_array(item, feature), allow_pickle=False)
            index = list(map(_index, feature.tolist(), number.tolist()))
            with _member(archive, ARRAY_INDEX) as member:
                np.lib.format.write_array(member, np.array(index, dtype=np.str_), allow_pickle=False)

    def _copy(self, band: int, size: int, member: IO[bytes]) -> None:
        """Copy what all parts have of a *band*; *size* is that of a patch in bytes."""
        start = 0
        for part in self._parts:
            count = len(part.feature) * size
            self._spool.seek(start + band * count)
            member.write(self._spool.read(count))
            start += len(self._bands) * count


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _index(feature: int, number: int) -> str:
    return f"{feature}_{number}"


def _as_list(item: Property, feature: int) -> Feature:
    value = item.values[feature]
    return [str(value).encode()] if item.text else np.array([value], dtype=np.float64)


def _as_array(item: Property, feature: np.ndarray) -> np.ndarray:
    """Return a value for each patch: texts of fixed width, "" where missing, or float64, NaN where missing."""
    empty = "" if item.text else np.nan
    values = np.array([empty if value is None else value for value in item.values])
    return values.astype(np.str_ if item.text else np.float64)[feature]
