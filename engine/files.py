"""Files that appear under their final name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator, Union

from .errors import EngineError, StorageError

PathLike = Union[str, Path]

LONGEST_STEM = 100  # characters kept of a name in its temporary name: file systems allow 255 bytes in all
MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]  # a folder may be shared by several


def temporary_name(path: PathLike) -> Path:
    """Return a new hidden name beside *path*: ``.<stem>.<process>-<machine>-<random>.part<suffix>``.

    The suffix stays, since GDAL drivers ask for it.  What a killed run leaves behind is known by ``.part``.
    """
    path = Path(path)
    return path.with_name(f"{_hidden(path)}{os.getpid()}-{MACHINE}-{secrets.token_hex(4)}.part{path.suffix}")


def remove_stale(path: PathLike) -> None:
    """Remove the temporary files of *path* that runs on this machine left behind when they were killed."""
    path = Path(path)
    pattern = re.compile(rf"{re.escape(_hidden(path))}(\d+)-{MACHINE}-\w+\.part\b")
    with contextlib.suppress(OSError):  # a folder that cannot be listed
        for beside in path.parent.iterdir():
            found = pattern.match(beside.name)
            if found and not _is_running(int(found[1])):
                remove(beside)


def _hidden(path: Path) -> str:
    return f".{path.stem[:LONGEST_STEM]}."


def _is_running(process: int) -> bool:
    if os.name == "nt":  # asking is dangerous there, and a file in use cannot be removed
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def write_atomically(path: PathLike, content: bytes) -> int:
    """Write *content* to *path*, replacing what was there; return its size in bytes.  Raises `StorageError`."""
    with atomic_file(path) as file:
        return file.write(content)


@contextlib.contextmanager
def atomic_file(path: PathLike) -> Iterator[BinaryIO]:
    """Give a binary file to write, which becomes *path* at the end; after any exception nothing is left of it.

    An OSError on the way that is not one of ours becomes a `StorageError`.
    """
    check_target(path)
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except EngineError:  # a RasterError is an OSError too
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        remove(temporary)


def check_target(path: PathLike, inputs: Iterable[PathLike] = ()) -> None:
    """Raise `StorageError` when *path* has no folder, is a folder, or is one of the *inputs*."""
    path = Path(path)
    if not path.parent.is_dir():
        raise StorageError(f"{path} cannot be written: the folder {path.parent} does not exist, create it first.")
    if path.is_dir():
        raise StorageError(f"{path} cannot be written: it is a folder, choose another name.")
    for source in inputs:
        # an input may be a name only GDAL understands, such as NETCDF:scene.nc:red
        if path.exists() and os.path.exists(source) and os.path.samefile(path, source):  # noqa: PTH110, PTH121
            raise StorageError(f"{path} is an input of this run: choose another name for the output.")


def remove(*paths: PathLike) -> None:
    """Remove the files that exist; one that cannot be removed stays."""
    for path in paths:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def storage_error(path: PathLike, error: OSError) -> StorageError:
    """Return the `StorageError` that says why *path* could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = "the disk is full or a size limit is reached, free some space or choose another folder"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = "writing there is not allowed or another program uses the file, choose another folder or name"
    else:
        reason = f"{error.strerror or error}, choose another folder or name"
    return StorageError(f"{path} cannot be written: {reason}.")
