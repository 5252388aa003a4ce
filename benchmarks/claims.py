"""What the benchmarks claim: every comparison with the ratio it must reach and the one it should reach."""

from __future__ import annotations

from typing import NamedTuple


class Claim(NamedTuple):
    """*gate* and *stretch* bound the median ratio from below, of an *at_most* claim from above."""

    id: str
    title: str
    gate: float
    stretch: float
    script: str
    at_most: bool = False

    def reached(self, ratio: float) -> str:
        """Return "stretch", "gate" or "missed"."""
        for bound, word in ((self.stretch, "stretch"), (self.gate, "gate")):
            if ratio <= bound if self.at_most else ratio >= bound:
                return word
        return "missed"


FOREST, LEARNER = "forest_map.py", "learner_map.py"
CLAIMS = (
    Claim("forest-tiles", "RF-100 map, 6 × uint16, vs scikit-learn `predict` in 256 × 256 tiles", 5, 10, FOREST),
    Claim("forest-otb", "the same vs OTB's `otbcli_ImageClassifier`, a forest of like size", 10, 25, FOREST),
    Claim("forest-strips", "the same vs full-width strips of 5 % of the memory, as EnMAP-Box does", 5, 10, FOREST),
    Claim("forest-blocks", "the same vs the native blocks of a striped GeoTIFF, as dzetsaka does", 10, 25, FOREST),
    Claim("forest-ten-uint16", "RF-100 map, 10 × uint16, vs scikit-learn tiles", 2.5, 5, FOREST),
    Claim("forest-ten-float32", "RF-100 map, 10 × float32, vs scikit-learn tiles", 2, 4, FOREST),
    Claim("forest-500", "RF-500 map from 100,000 rows, 6 × uint16, vs scikit-learn tiles", 2.5, 6, FOREST),
    Claim("forest-gdal", "RF-100 map vs GDAL merely reading the image and writing a map", 35, 10, FOREST, at_most=True),
    Claim("probability", "MULTIPROBABILITY vs `predict_proba` in tiles", 1.7, 3, LEARNER),
    Claim("regression", "regression forest vs `predict` in tiles", 1.7, 3, LEARNER),
    Claim("svm", "SVM-RBF, about 4,000 support vectors, vs scikit-learn, equal threads", 8, 15, LEARNER),
    Claim("knn", "kNN, k = 5 of 10,000 rows, vs scikit-learn's kd_tree", 5, 10, LEARNER),
    Claim("boosting", "boosted trees vs scikit-learn", 1.8, 6, LEARNER),
    Claim("threads", "2 threads vs 1", 1.5, 1.9, "thread_scaling.py"),
)
BY_ID = {claim.id: claim for claim in CLAIMS}
