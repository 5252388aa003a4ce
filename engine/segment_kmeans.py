"""k-means over the pixels of an image (Earth Engine: Image.Segmentation.KMeans, reference 5.6)."""

from __future__ import annotations

from .errors import SettingError
from .images import Image
from .pixel_clusters import Clusters, kmeans
from .pixel_units import Pixels
from .progress import Progress
from .segment_areas import areas, write_clusters


def segment_kmeans(
    image: Image,
    output: str,
    num_clusters: int = 8,
    num_iterations: int = 20,
    neighborhood_size: int = 0,
    grid_size: int | None = None,
    force_convergence: bool = False,
    unique_labels: bool = True,
    *,
    threads: int = 0,
    tile_size: int = 256,
    memory_limit: int = 1024,
    progress: Progress | None = None,
) -> int:
    """Write the band ``clusters`` (int32, from 0, nodata where any band is masked); return the number of labels.

    The other parameters are those of `segment_areas.write_clusters`.  Raises `SettingError` when *force_convergence*
    is set and *num_iterations* passes do not suffice.
    """
    if num_clusters < 1 or num_iterations < 1:
        raise SettingError(
            f"NUM_CLUSTERS is {num_clusters} and NUM_ITERATIONS {num_iterations}: give 1 or more of each."
        )

    def fit(pixels: Pixels, progress: Progress) -> Clusters:
        clusters = kmeans(pixels, num_clusters, num_iterations, progress)
        if force_convergence and not clusters.converged:
            raise SettingError(
                f"The clusters still change after NUM_ITERATIONS {num_iterations}: raise it or unset FORCE_CONVERGENCE."
            )
        return clusters

    places = areas(image.grid.rows, image.grid.columns, tile_size, neighborhood_size, grid_size)
    found = write_clusters(image, output, fit, places, unique_labels, threads, memory_limit, progress or Progress())
    if progress and len(places) == 1 and 0 < found < num_clusters:
        progress.warn(f"The image has {found} clusters instead of {num_clusters}: no pixels were left for others.")
    return found
