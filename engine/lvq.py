"""Learning vector quantisation as Weka's LVQ clusterer does it (reference 5.5); after Kohonen (1986)."""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from .distances import every_pair, squared_euclidean
from .errors import ModelFileError
from .models import Model
from .progress import Progress
from .scaling import MinMax
from .spans import row_spans
from .training import Fit, Samples

LEAST_EPOCHS = 1000  # Weka takes no fewer
ROWS_BETWEEN_CHECKS = 8192


class Codebook(NamedTuple):
    """Code vectors and the scale they were learnt on.

    vectors : float64 (clusters, predictors), each predictor from -1 to 1, or in input units
    scaling : the range that became -1 … 1, or None for input units
    epochs : how many were run before the vectors began to repeat, or all
    """

    vectors: np.ndarray
    scaling: MinMax | None
    epochs: int

    @property
    def centres(self) -> np.ndarray:
        """Code vectors in input units."""
        if self.scaling is None:
            return self.vectors
        return (self.vectors + 1) / 2 * self.scaling.range + self.scaling.minimum

    @property
    def blind(self) -> bool:
        """Whether distances are undefined: a constant predictor has no scale from -1 to 1."""
        return self.scaling is not None and self.scaling.constant.size > 0

    def scaled(self, features: np.ndarray) -> np.ndarray:
        """Return *features* (rows, predictors) as float64 on the scale of the vectors, 0 for a constant predictor."""
        if self.scaling is None:
            return features.astype(np.float64)
        scaled = self.scaling.scaled(features) * 2 - 1
        scaled[:, self.scaling.constant] = 0
        return scaled

    def nearest(self, features: np.ndarray, check: Callable[[], None]) -> np.ndarray:
        """Return the nearest code vector of every row, int32 (rows,); of equally near ones the first."""
        found = np.zeros(len(features), dtype=np.int32)
        if not self.blind:
            for span in row_spans(len(features), max(self.vectors.shape)):
                check()
                pairs = every_pair(self.vectors, self.scaled(features[span]))
                found[span] = squared_euclidean(pairs).argmin(axis=0)
        return found


def fit_lvq(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    num_clusters: int,
    learning_rate: float,
    epochs: int,
    normalize_input: bool,
) -> Fit:
    """Learn *num_clusters* code vectors; *normalize_input* is Earth Engine's name for leaving the predictors as is."""
    if epochs < LEAST_EPOCHS:
        progress.warn(f"EPOCHS is {epochs}, but Weka's LVQ runs no fewer than {LEAST_EPOCHS}: so many are run.")
    book = learn(samples.features, num_clusters, learning_rate, epochs, not normalize_input, progress)
    if book.blind and book.scaling is not None:
        number = book.scaling.constant[0]
        progress.warn(
            f"Predictor {samples.predictors[number]} is {book.scaling.minimum[number]:g} in every sample, so that it "
            "cannot be normalised and every row falls into cluster 0, as in Weka: leave it out, or set NORMALIZE_INPUT "
            "to true (which switches normalising off)."
        )
    found = book.nearest(samples.features, progress.check)
    sizes = np.bincount(found, minlength=num_clusters)
    if not book.blind and not sizes.all():
        progress.warn(
            f"{np.count_nonzero(sizes == 0)} of {num_clusters} clusters have no samples: ask for fewer clusters."
        )
    scaling = book.scaling or MinMax(np.zeros(len(samples.predictors)), np.ones(len(samples.predictors)))
    return Fit(
        arrays={"vectors": book.vectors, "minimum": scaling.minimum, "range": scaling.range},
        statistics={
            "clusterSizes": sizes.tolist(),
            "centres": book.centres.tolist(),
            "withinClusterSumOfSquares": _sum_of_squares(book, samples.features, found),
            "epochsRun": book.epochs,
        },
        predicted=found,
        clusters=num_clusters,
    )


def learn(
    features: np.ndarray,
    clusters: int,
    rate: float,
    epochs: int,
    normalised: bool,
    progress: Progress | None = None,
) -> Codebook:
    """Return the code vectors after *epochs* passes, at least 1000, over *features* (rows, predictors).

    All vectors start in the middle of the ranges; the nearest one of each row moves by *rate* of the way to it.
    Nothing is random, so from vectors that were there before on all goes on as it did then, and is not run again.
    """
    progress = progress or Progress()
    epochs = max(epochs, LEAST_EPOCHS)
    if normalised:
        book = Codebook(np.zeros((clusters, features.shape[1])), MinMax.of(features), 0)
    else:
        middle = (features.min(axis=0).astype(np.float64) + features.max(axis=0)) / 2
        book = Codebook(np.tile(middle, (clusters, 1)), None, 0)
    rows = book.scaled(features)
    learners = 1 if book.blind else clusters  # blind vectors lose every row to the first one
    vectors = book.vectors[:learners].T.copy()
    earlier, earlier_epoch = vectors.copy(), 0
    left, run = epochs, 0
    while left:
        _pass(rows, vectors, rate, progress)
        left, run = left - 1, run + 1
        progress(epochs - left, epochs)
        if left and np.array_equal(vectors, earlier):
            left %= run - earlier_epoch
        elif run == 2 * earlier_epoch or not earlier_epoch:  # Brent (1980): compare with epochs 1, 2, 4, 8, …
            earlier, earlier_epoch = vectors.copy(), run
    learnt = book.vectors.copy()
    learnt[:learners] = vectors.T
    return book._replace(vectors=learnt, epochs=run)


def _pass(rows: np.ndarray, vectors: np.ndarray, rate: float, progress: Progress) -> None:
    """Show all *rows* (rows, predictors) to the *vectors* (predictors, clusters), which move."""
    differences, squares = np.empty_like(vectors), np.empty_like(vectors)
    distances = np.empty(vectors.shape[1])
    for start in range(0, len(rows), ROWS_BETWEEN_CHECKS):
        progress.check()
        for row in rows[start : start + ROWS_BETWEEN_CHECKS, :, np.newaxis]:
            np.subtract(row, vectors, out=differences)
            np.multiply(differences, differences, out=squares)
            np.add.reduce(squares, axis=0, out=distances)
            winner = distances.argmin()
            vectors[:, winner] += rate * differences[:, winner]


def _sum_of_squares(book: Codebook, features: np.ndarray, found: np.ndarray) -> float:
    """Return Σ squared distance of every row to its code vector, on the scale of the vectors."""
    total = 0.0
    for span in row_spans(len(features), features.shape[1]):
        total += float(np.square(book.scaled(features[span]) - book.vectors[found[span]]).sum())
    return total


class LvqPredictor:
    """Finds the nearest code vector of every row."""

    def __init__(self, model: Model) -> None:
        arrays = model.arrays
        scaling = None if model.settings["normalize_input"] else MinMax(arrays["minimum"], arrays["range"])
        self.book = Codebook(arrays["vectors"], scaling, 0)

    def bands(self, mode: str) -> tuple[str, ...]:
        return ("cluster",)

    def gives_classes(self, mode: str) -> bool:
        return True

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return the cluster of every row, int32 (1, rows)."""
        return self.book.nearest(features, check)[np.newaxis]

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are code vectors and their scale."""
        arrays, predictors = model.arrays, len(model.predictors)
        if set(arrays) != {"vectors", "minimum", "range"}:
            raise ModelFileError("learning vector quantisation needs the arrays minimum, range, vectors")
        vectors, minimum, extent = arrays["vectors"], arrays["minimum"], arrays["range"]
        if vectors.shape != (model.settings["num_clusters"], predictors):
            raise ModelFileError("its code vectors do not fit its clusters and predictors")
        if minimum.shape != (predictors,) or extent.shape != (predictors,):
            raise ModelFileError("its ranges do not fit its predictors")
        if any(array.dtype != np.float64 or not np.isfinite(array).all() for array in (vectors, minimum, extent)):
            raise ModelFileError("its code vectors and ranges are not finite numbers")
        if (extent < 0).any():
            raise ModelFileError("one of its ranges is negative")
