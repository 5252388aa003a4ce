"""Every error that RasterML raises on purpose, as one tree.

EngineError
├── Canceled             the user asked to stop
├── MissingLibraryError  an optional library is not installed    (also ImportError)
├── RasterError          a raster cannot be opened, read, placed (also OSError)
├── StorageError         an output cannot be written             (also OSError)
├── TableError           samples, fields or labels are unusable  (also ValueError)
├── SettingError         a parameter has an impossible value     (also ValueError)
├── ClusterError         a Dask cluster does not do its part   (also OSError)
├── ModelFileError       a .rasterml file is refused             (also ValueError)
└── LimitExceeded        an Earth Engine cap is passed and LIMITS is Enforce

A message is one sentence for the user: what is wrong, where, and the way out.
"""

from __future__ import annotations


class EngineError(Exception):
    """Whatever RasterML raises on purpose."""


class Canceled(EngineError):
    """The user asked to stop."""

    def __init__(self, message: str = "Canceled: nothing was written.") -> None:
        super().__init__(message)


class MissingLibraryError(EngineError, ImportError):
    """An optional library is not installed."""


class RasterError(EngineError, OSError):
    """A raster cannot be opened, read or brought onto the grid."""


class StorageError(EngineError, OSError):
    """An output cannot be written: folder, rights, space or format."""


class TableError(EngineError, ValueError):
    """Samples, fields or labels cannot be used."""


class SettingError(EngineError, ValueError):
    """A parameter has a value that makes no sense."""


class ModelFileError(EngineError, ValueError):
    """A model file is damaged, hostile, too new, or not a model file."""


class ClusterError(EngineError, OSError):
    """A Dask cluster cannot be reached or does not do its part."""


class LimitExceeded(EngineError):
    """A documented Earth Engine cap is passed and the run enforces it."""
