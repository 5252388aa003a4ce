"""A zip of one JSON manifest and plain ``.npy`` arrays: written whole, read without trusting it.

Every `ModelFileError` raised here is a fragment ("its array 'right' has another checksum"); `models` puts the name of
the file before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, Mapping, NoReturn, TypeVar

import numpy as np
from numpy.lib import format as npy

from .errors import ModelFileError, StorageError
from .files import PathLike, atomic_file
from .progress import Progress
from .shared_arrays import SharedArrays

Result = TypeVar("Result")

MANIFEST = "manifest.json"
MANIFEST_BYTES_CAP = 64 * 2**20
ARRAY_BYTES_CAP = 4 * 2**30  # all arrays together
NUMBER_CAP = 2**63  # whole numbers in the manifest stay below it
DATA_TYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
NPY_VERSION, NPY_MAGIC = (1, 0), b"\x93NUMPY\x01\x00"
NPY_HEADER_CAP = 1024  # bytes; ours have 128
DIMENSIONS_CAP = 8
CHUNK_BYTES = 2**20
ARRAY_NAME = re.compile("[a-z][a-z0-9_]{0,63}")
DIGEST = re.compile("[0-9a-f]{64}")

# Whatever zipfile, zlib and json say of bytes that nobody wrote on purpose; RuntimeError covers encrypted members,
# unknown compression and deep nesting, ValueError broken UTF-8 and JSON.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, OverflowError)


def write_archive(path: PathLike, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> int:
    """Write *manifest*, completed by the list of *arrays*, and the arrays; return the bytes of the file.

    Equal contents give equal bytes.  Raises `StorageError`; ValueError or TypeError on what JSON or this format
    does not know (NaN, an array of objects, a name that is not lower-case letters, digits and ``_``).
    """
    with atomic_file(path) as file:
        with zipfile.ZipFile(file, "w") as archive:
            rows = [_write_array(archive, name, arrays[name]) for name in sorted(arrays)]
            whole = {**manifest, "arrays": rows}
            text = json.dumps(whole, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()
            if len(text) > MANIFEST_BYTES_CAP or sum(row["bytes"] for row in rows) > ARRAY_BYTES_CAP:
                raise StorageError(f"{path} cannot be written: the model is too large for its format.")
            _write_member(archive, MANIFEST, text)
        return file.tell()


def read_archive(
    path: PathLike, check_manifest: Callable[[dict[str, Any]], None], progress: Progress
) -> tuple[dict[str, Any], SharedArrays]:
    """Return the manifest and the arrays of the file at *path*.

    *check_manifest* sees the manifest before any array is looked at and may raise.  Nothing is allocated before
    its size is known and within the caps.  Raises `ModelFileError`, whatever the bytes of the file, or `Canceled`.
    """

    def read(archive: zipfile.ZipFile) -> tuple[dict[str, Any], SharedArrays]:
        members = _members(archive)
        manifest = _checked_manifest(archive, members, check_manifest)
        return manifest, _arrays(archive, members, manifest, progress)

    return _read(path, read)


def _read(path: PathLike, function: Callable[[zipfile.ZipFile], Result]) -> Result:
    """Return what *function* makes of the archive at *path*; whatever it says of damage becomes `ModelFileError`."""
    if not Path(path).is_file():
        refuse("there is no such file")
    try:
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            return function(archive)
    except ModelFileError:
        raise
    except PermissionError as error:
        raise ModelFileError("reading it is not allowed") from error
    except MemoryError as error:
        raise ModelFileError("it needs more memory than there is") from error
    except DAMAGE as error:
        raise ModelFileError("it is damaged, incomplete or not a RasterML model, make or fetch it again") from error


def read_manifest(path: PathLike, check_manifest: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return the manifest alone, which is quick for a model of any size; raises as `read_archive` does."""
    return _read(path, lambda archive: _checked_manifest(archive, _members(archive), check_manifest))


def refuse(reason: str) -> NoReturn:
    raise ModelFileError(reason)


def entry(record: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str = "its manifest") -> Any:
    """Return ``record[key]``, or refuse the file when it is missing or not a *kind*; true is not a number."""
    if key not in record:
        refuse(f"{where} has no {key!r}")
    value = record[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        refuse(f"{key!r} in {where} is not a {' or '.join(item.__name__ for item in kinds)}")
    return value


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> dict[str, Any]:
    array = np.asarray(array, order="C")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype.str not in DATA_TYPES or not ARRAY_NAME.fullmatch(name):
        raise TypeError(f"the model format cannot keep an array {name!r} of {array.dtype}")
    buffer = io.BytesIO()
    npy.write_array(buffer, array, version=NPY_VERSION, allow_pickle=False)
    content = buffer.getbuffer()
    _write_member(archive, _member_name(name), content)
    return {
        "name": name,
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "bytes": content.nbytes,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _write_member(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    member = zipfile.ZipInfo(name)  # dated 1980-01-01
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # the same bytes on every system
    member.external_attr = 0o644 << 16
    archive.writestr(member, content)  # type: ignore[arg-type]  # any buffer will do


def _member_name(array_name: str) -> str:
    return f"arrays/{array_name}.npy"


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name; a name that occurs twice, encryption and other compressions are refused."""
    members = {}
    for member in archive.infolist():
        if member.filename in members:
            refuse(f"it has two members named {member.filename!r}")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            refuse(f"its member {member.filename!r} is encrypted or compressed in another way than deflate")
        members[member.filename] = member
    if MANIFEST not in members:
        refuse(f"it has no {MANIFEST}, so it is no RasterML model")
    return members


def _checked_manifest(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], check: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    manifest = _manifest(archive, members[MANIFEST])
    check(manifest)
    return manifest


def _manifest(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> dict[str, Any]:
    if member.file_size > MANIFEST_BYTES_CAP:
        refuse(f"its manifest has {member.file_size} bytes, more than {MANIFEST_BYTES_CAP}")
    with archive.open(member) as file:
        text = file.read(member.file_size).decode("utf-8")  # without a size a bomb would be unpacked first
    manifest = json.loads(
        text,
        parse_int=_whole_number,
        parse_float=_finite_number,
        parse_constant=_finite_number,
        object_pairs_hook=_different_keys,
    )
    if not isinstance(manifest, dict):
        refuse("its manifest is not a JSON object")
    json.dumps(manifest, ensure_ascii=False).encode("utf-8")  # a lone surrogate fails here and not in a later output
    return manifest


def _whole_number(text: str) -> int:
    # the length first: reading a million digits takes minutes
    if len(text) > len(str(NUMBER_CAP)) + 1 or abs(int(text)) >= NUMBER_CAP:
        refuse(f"its manifest has the number {text[:24]}, beyond 64 bits")
    return int(text)


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        refuse(f"its manifest has the number {text[:24]}, which is not finite")
    return number


def _different_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        refuse("its manifest has a key twice")
    return record


def _arrays(
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    manifest: Mapping[str, Any],
    progress: Progress,
) -> SharedArrays:
    rows = entry(manifest, "arrays", list)
    expected = {MANIFEST} | {_member_name(_checked_row(row, members)) for row in rows}
    if len(expected) != len(rows) + 1:
        refuse("its manifest names an array twice")
    surplus = sorted(set(members) - expected)
    if surplus:
        refuse(f"it has a member {surplus[0]!r} that its manifest does not name")
    if sum(row["bytes"] for row in rows) > ARRAY_BYTES_CAP:
        refuse(f"its arrays have more than {ARRAY_BYTES_CAP} bytes")
    arrays = SharedArrays.empty({row["name"]: (row["shape"], row["dtype"]) for row in rows})
    for row in rows:
        with archive.open(members[_member_name(row["name"])]) as file:
            _fill(arrays[row["name"]], file, row, progress)
    return arrays


def _checked_row(row: Any, members: Mapping[str, zipfile.ZipInfo]) -> str:
    """Return the name of the array that *row* of the manifest describes, its sizes being consistent."""
    if not isinstance(row, dict):
        refuse("its manifest describes an array by something else than an object")
    name = entry(row, "name", str, "an array's description")
    where = f"the description of array {name!r}"
    if not ARRAY_NAME.fullmatch(name) or _member_name(name) not in members:
        refuse(f"it has no array {name!r}, though its manifest names it")
    if entry(row, "dtype", str, where) not in DATA_TYPES:
        refuse(f"its array {name!r} has the data type {row['dtype']!r}, which is none of {', '.join(DATA_TYPES)}")
    shape = entry(row, "shape", list, where)
    if len(shape) > DIMENSIONS_CAP or any(type(side) is not int or side < 0 for side in shape):
        refuse(f"its array {name!r} has an impossible shape")
    header_bytes = entry(row, "bytes", int, where) - math.prod(shape) * np.dtype(row["dtype"]).itemsize
    if row["bytes"] != members[_member_name(name)].file_size or not 10 <= header_bytes <= NPY_HEADER_CAP:
        refuse(f"the sizes given for its array {name!r} do not agree")
    if not DIGEST.fullmatch(entry(row, "sha256", str, where)):
        refuse(f"its array {name!r} has no proper checksum")
    return name


def _fill(array: np.ndarray, file: Any, row: Mapping[str, Any], progress: Progress) -> None:
    """Fill *array* from the member whose description *row* is consistent with the zip's directory."""
    header = file.read(row["bytes"] - array.nbytes)
    text = f"{{'descr': {row['dtype']!r}, 'fortran_order': False, 'shape': {array.shape}, }}"
    # compared, not parsed: numpy's own reader of headers lets other errors than ValueError out
    if header[:10] != NPY_MAGIC + struct.pack("<H", len(header) - 10) or header[10:].rstrip() != text.encode():
        refuse(f"the header of its array {row['name']!r} says something else than the manifest")
    digest = hashlib.sha256(header)
    values = array.reshape(-1).view(np.uint8).data
    for start in range(0, values.nbytes, CHUNK_BYTES):
        progress.check()
        chunk = values[start : start + CHUNK_BYTES]
        if file.readinto(chunk) != chunk.nbytes:
            refuse(f"its array {row['name']!r} is incomplete")
        digest.update(chunk)
    if file.read(1) or digest.hexdigest() != row["sha256"]:
        refuse(f"its array {row['name']!r} has another checksum than the manifest says")
