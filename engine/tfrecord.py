"""TFRecord files and the tf.train.Example in each record, without TensorFlow.

A record is the length of its data (uint64), the masked CRC-32C of these 8 bytes (uint32), the data, and the
masked CRC-32C of the data (uint32), all little-endian; a file may be compressed as a whole (gzip).  The data
are a message in protocol-buffer form: Example.features = 1, Features.feature = 1, which is a map of
name = 1 to value = 2; a Feature holds a BytesList = 1, a FloatList = 2 or an Int64List = 3, whose values are
field 1 (packed or not).
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator, List, Mapping, Sequence, Union, cast

import numpy as np

from .crc32c import checksums
from .errors import TableError
from .files import PathLike, atomic_file
from .progress import Progress

# float32 values, int64 values, byte strings, or no list at all
Feature = Union[np.ndarray, List[bytes], None]

BATCH_BYTES = 2**23  # of data whose checksums are taken at once
MOST_BYTES = 2**31 - 1  # of a message in protocol-buffer form
READ_BYTES = 2**24  # asked for at once: a length may lie
MASK = 0xA282EAD8
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3
VARINT, EIGHT_BYTES, DELIMITED, FOUR_BYTES = 0, 1, 2, 5  # wire types
LONGEST_VARINT = 10
COMPRESSION = 4  # zlib's own 6 took 4 to 8 times as long on Landsat pixels, for files 1 to 8 % smaller


@contextlib.contextmanager
def record_file(path: PathLike) -> Iterator[BinaryIO]:
    """Give a file for `write_records`, compressed when its name ends in .gz; it becomes *path* at the end.

    After any exception nothing is left of it.  Raises `StorageError`.
    """
    with atomic_file(path) as file:
        if not _is_compressed(path):
            yield file
            return
        with gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed:  # the same records, the same bytes
            yield cast(BinaryIO, packed)


def write_records(file: BinaryIO, records: Iterable[bytes]) -> int:
    """Write each of *records* to *file*; return how many there were."""
    count = 0
    for batch in _batches(records):
        for record, checksum in zip(batch, masked_checksums(batch)):
            file.write(b"".join((_header(len(record)), record, checksum)))
        count += len(batch)
    return count


def read_records(path: PathLike, progress: Progress | None = None) -> Iterator[bytes]:
    """Yield the data of every record of a file, as TensorFlow does.

    A wrong checksum and a record without end raise `TableError` after the records before it; a file that
    ends inside the 12 bytes before the data gives those records and a warning, one of 0 bytes no record.
    """
    progress = progress or Progress()
    count = 0
    for batch, trouble in _frames(path, progress):
        progress.check()
        for (data, checksum), right in zip(batch, masked_checksums([data for data, _ in batch])):
            if checksum != right:
                raise _damaged(path, count, "the checksum of the data is wrong")
            yield data
            count += 1
        if trouble:
            raise _damaged(path, count, trouble)


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """Return a tf.train.Example: arrays of floats become float lists, of integers int64 lists, the rest byte lists."""
    entries = (_field(1, name.encode()) + _field(2, _encoded(values)) for name, values in features.items())
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def decode_example(record: bytes) -> dict[str, Feature]:
    """Return the features of a tf.train.Example by name; raises `TableError` for anything else."""
    found: dict[str, Feature] = {}
    try:
        for features in _messages(record, 1):
            for entry in _messages(features, 1):
                name = b"".join(list(_messages(entry, 1))[-1:]).decode()
                found[name] = _decoded(b"".join(_messages(entry, 2)))
    except ValueError as error:
        raise TableError(f"A record holds no tf.train.Example ({error}): export it in that form.") from error
    return found


def masked_checksums(messages: Sequence[bytes]) -> list[bytes]:
    """Return the masked CRC-32C of every message as 4 bytes."""
    plain = checksums(messages)
    masked = ((plain >> np.uint32(15)) | (plain << np.uint32(17))) + np.uint32(MASK)
    return [bytes(row) for row in masked.astype("<u4").view(np.uint8).reshape(-1, 4)]


def _is_compressed(path: PathLike) -> bool:
    return Path(path).suffix.lower() == ".gz"


def _batches(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record)
        if size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@functools.lru_cache(maxsize=4096)
def _header(length: int) -> bytes:
    size = length.to_bytes(8, "little")
    return size + masked_checksums([size])[0]


def _frames(path: PathLike, progress: Progress) -> Iterator[tuple[list[tuple[bytes, bytes]], str]]:
    """Yield lists of (data, checksum), each with what keeps the file from being read any further, or ""."""
    batch: list[tuple[bytes, bytes]] = []
    size = count = 0
    trouble = ""
    with _opened(path) as file:
        while not trouble:
            frame, trouble = _frame(file)
            if frame is None:
                break
            batch.append(frame)
            size += len(frame[0])
            count += 1
            if size > BATCH_BYTES:
                yield batch, ""
                batch, size = [], 0
    if trouble == CUT_HEADER:
        progress.warn(f"{path} is cut off after {count} records: what followed them is lost.")
        trouble = ""
    yield batch, trouble


CUT_HEADER = "cut inside the header"


def _frame(file: BinaryIO) -> tuple[tuple[bytes, bytes] | None, str]:
    """Return data and checksum of the next record, or None and the reason, which is "" at the end of the file."""
    try:
        header = file.read(12)
        length = int.from_bytes(header[:8], "little")
        if len(header) < 12:
            return None, CUT_HEADER if header else ""
        if header != _header(length):
            return None, "the checksum of a length is wrong"
        if length > MOST_BYTES:
            return None, f"a record of {length} bytes is longer than any tf.train.Example"
        parts = []
        missing = length + 4
        while missing:
            part = file.read(min(missing, READ_BYTES))
            if not part:
                return None, "the file ends inside a record"
            parts.append(part)
            missing -= len(part)
    except (OSError, EOFError, zlib.error) as error:
        return None, str(error) or "it cannot be read"
    data = b"".join(parts)
    return (data[:-4], data[-4:]), ""


def _opened(path: PathLike) -> BinaryIO:
    try:
        return cast(BinaryIO, gzip.open(path) if _is_compressed(path) else Path(path).open("rb"))
    except OSError as error:
        raise TableError(f"{path} cannot be opened ({error.strerror or error}): check the path.") from error


def _damaged(path: PathLike, count: int, reason: str) -> TableError:
    hint = "" if count else ", or it is no TFRecord file (a compressed one must end in .gz)"
    return TableError(f"{path} is damaged after {count} records ({reason}){hint}: copy or export it again.")


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | DELIMITED) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Return *number* in groups of 7 bits, the lowest first; the top bit says that more follow."""
    octets = bytearray()
    while number > 127:
        octets.append(number & 127 | 128)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _encoded(values: Feature) -> bytes:
    """Return a Feature."""
    if values is None:
        return b""
    if not isinstance(values, np.ndarray):
        return _field(BYTES_LIST, b"".join(_field(1, value) for value in values))
    if values.dtype.kind == "f":
        kind = FLOAT_LIST
        with np.errstate(over="ignore"):  # beyond float32 is infinity
            packed = values.astype("<f4").tobytes()
    else:
        kind = INT64_LIST
        packed = b"".join(_varint(number % 2**64) for number in values.ravel().tolist())
    return _field(kind, _field(1, packed) if packed else b"")


def _decoded(feature: bytes) -> Feature:
    """Return the values of a Feature; when it holds lists of several kinds the last kind counts."""
    kind = 0
    values: list[bytes] = []
    for number, wire_type, content in _fields(feature):
        if wire_type == DELIMITED and number in (BYTES_LIST, FLOAT_LIST, INT64_LIST):
            if number != kind:
                kind, values = number, []
            values += [value for field, _, value in _fields(content) if field == 1]
    if kind == FLOAT_LIST:
        return np.frombuffer(b"".join(values), dtype="<f4")
    if kind == INT64_LIST:
        return _integers(b"".join(values))
    return values if kind == BYTES_LIST else None


def _integers(packed: bytes) -> np.ndarray:
    """Return the numbers of a sequence of varints (int64)."""
    octets = np.frombuffer(packed, dtype=np.uint8)
    if not len(octets):
        return np.empty(0, dtype=np.int64)
    ends = np.flatnonzero(octets < 128)
    starts = np.append(0, ends + 1)[: len(ends)]
    sizes = ends - starts + 1
    if octets[-1] > 127 or sizes.max() > LONGEST_VARINT:
        raise ValueError("a number has no end")
    place = np.arange(len(octets)) - np.repeat(starts, sizes)
    bits = (octets & np.uint8(127)).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts).view(np.int64)


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    """Yield the contents of the fields *number* that are texts or messages."""
    for found, wire_type, content in _fields(message):
        if found == number and wire_type == DELIMITED:
            yield content


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, wire type and content of every field; a varint's content is its own bytes."""
    position = 0
    while position < len(message):
        key, position = _varint_at(message, position)
        wire_type = key & 7
        start = position
        if wire_type == VARINT:
            _, end = _varint_at(message, position)
        elif wire_type == DELIMITED:
            size, start = _varint_at(message, position)
            end = start + size
        elif wire_type in (EIGHT_BYTES, FOUR_BYTES):
            end = start + (8 if wire_type == EIGHT_BYTES else 4)
        else:
            raise ValueError(f"a field has the unknown type {wire_type}")
        if end > len(message):
            raise ValueError("a field has no end")
        yield key >> 3, wire_type, message[start:end]
        position = end


def _varint_at(message: bytes, position: int) -> tuple[int, int]:
    """Return the number that starts at *position*, and the position after it."""
    number = 0
    for place, octet in enumerate(message[position : position + LONGEST_VARINT]):
        number |= (octet & 127) << 7 * place
        if octet < 128:
            return number, position + place + 1
    raise ValueError("a number has no end")
