"""K-means of 1,000,000 × 10 samples, 10 clusters: RasterML's whole fit against scikit-learn's Lloyd iterations.

scikit-learn gets the scaled table in double precision and RasterML's start centres for nothing, no tolerance, as many
iterations as RasterML took, and the same number of threads; rounds are interleaved, and the ratio of each is printed.
Run it as

    python3 benchmarks/kmeans_speed.py [rounds] [threads] [most iterations]
"""

from __future__ import annotations

import sys

import numpy as np
from common import interleaved, load_package, ratios, spread

ROWS, PREDICTORS, CLUSTERS, SEED = 1_000_000, 10, 10, 10


def table() -> np.ndarray:
    """Return float32 (ROWS, PREDICTORS): 25 overlapping heaps, in units that differ by a factor of 1000."""
    generator = np.random.default_rng(0)
    heaps = generator.normal(size=(25, PREDICTORS)) * 1.5
    rows = heaps[generator.integers(0, 25, ROWS)] + generator.normal(size=(ROWS, PREDICTORS))
    return (rows * np.geomspace(1, 1000, PREDICTORS) + 5000).astype(np.float32)


def main() -> None:
    from rasterml.engine.kmeans import fit_kmeans
    from rasterml.engine.kmeans_starts import EUCLIDEAN, RANDOM, start_centres
    from rasterml.engine.learners import BY_ID, CLUSTERING
    from rasterml.engine.progress import Progress
    from rasterml.engine.scaling import MinMax
    from rasterml.engine.training import Samples
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    most_iterations = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    features = table()
    names = tuple(f"b{number}" for number in range(PREDICTORS))
    samples = Samples(features, np.zeros(ROWS, dtype=np.int32), names, (), "")
    settings = BY_ID["trainkmeans"].checked({"n_clusters": CLUSTERS, "max_iterations": most_iterations, "seed": SEED})
    scaling = MinMax.of(features)
    scaled = scaling.scaled(features)
    start = start_centres(features, CLUSTERS, RANDOM, EUCLIDEAN, SEED, scaling, Progress())
    ours = fit_kmeans(samples, CLUSTERING, threads, Progress(), **settings)  # warms up, too
    iterations = ours.statistics["iterations"]

    sums = {}

    def rasterml() -> None:
        fit = fit_kmeans(samples, CLUSTERING, threads, Progress(), **settings)
        sums["RasterML"] = fit.statistics["withinClusterSumOfSquares"]

    def sklearn() -> None:
        with threadpool_limits(threads):
            theirs = KMeans(
                CLUSTERS, init=scaling.scaled(start), n_init=1, algorithm="lloyd", tol=0, max_iter=iterations
            ).fit(scaled)
        if theirs.n_iter_ != iterations:
            print(f"scikit-learn stopped after {theirs.n_iter_} iterations, RasterML after {iterations}")
        sums["scikit-learn"] = theirs.inertia_

    seconds = interleaved({"RasterML": rasterml, "scikit-learn": sklearn}, rounds, warm_up=True)
    print(f"{iterations} iterations, {threads} threads; sums of squares {sums}")
    print(f"RasterML / scikit-learn: {spread(ratios(*seconds.values()))}")


if __name__ == "__main__":
    load_package()
    main()
