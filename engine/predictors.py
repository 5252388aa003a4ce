"""What a learner's predictor must offer, and how its calls are cut up."""

from __future__ import annotations

import threading
from typing import Any, Callable, Iterator, Protocol, Sequence

import numpy as np

from .errors import Canceled

NO_CLASS = np.iinfo(np.int32).min  # a row that the classifier gives no class
ROWS_AT_ONCE = 65_536  # few enough to stay in the cache and to answer a cancel at once
VALUES_AT_ONCE = 2**22  # bounds the rows of modes with many outputs


class Predictor(Protocol):
    """What the class that a learner's row names must offer; made with ``Predictor(model)``, used by many threads."""

    def bands(self, mode: str) -> tuple[str, ...]:
        """Return the names of the output bands of *mode*."""

    def gives_classes(self, mode: str) -> bool:
        """Tell whether the outputs of *mode* are class values (int32) or float32."""

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return (bands, rows), int32 with `NO_CLASS` or float32 with NaN for a row that has no prediction.

        *features* is float32 (rows, predictors), finite, C-contiguous; each row is predicted for itself.
        *check* is called between steps of some ten milliseconds and may raise.
        """


class BlockPredictor(Predictor, Protocol):
    """A predictor that is faster on millions of rows at once; its results equal those of ``predict`` bit for bit."""

    def block_rows(self, mode: str) -> int:
        """Return how many rows a block should have at best, 0 where ``predict`` is as good."""

    def block_bytes(self, mode: str) -> int:
        """Return the bytes a row takes in a block besides features and result."""

    def model_bytes(self) -> int:
        """Return the bytes that the model and what is made ready of it take."""

    def prepare(self, mode: str, check: Callable[[], None] = ..., ready: Any = None) -> Any:
        """Return what the first call of the other two would have to wait for.

        It is made once; the predictor of another process is given it as *ready*, pickled.
        """

    def cell_tree(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> Any:
        """Return the `trees.Shape` whose leaves are cells that *features* (rows, predictors) are best predicted in."""

    def predict_cells(
        self, features: np.ndarray, sizes: Sequence[int], mode: str, check: Callable[[], None]
    ) -> np.ndarray:
        """Return what ``predict`` does for some *features*, which stand cell by cell with *sizes* rows each."""


def block_rows(predictor: Any, mode: str) -> int:
    """Return how many rows *predictor* likes in a block, 0 when it has no wish."""
    return predictor.block_rows(mode) if hasattr(predictor, "predict_cells") else 0


def spans(rows: int, bands: int) -> Iterator[slice]:
    """Yield the slices of *rows* rows that go into one call of ``predict``."""
    step = max(1, min(ROWS_AT_ONCE, VALUES_AT_ONCE // bands))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))


def never_stop() -> None:
    """Check nothing: where nobody can cancel."""


def checker(stop: threading.Event) -> Callable[[], None]:
    """Return a function that raises `Canceled` once *stop* is set."""

    def check() -> None:
        if stop.is_set():
            raise Canceled()

    return check
