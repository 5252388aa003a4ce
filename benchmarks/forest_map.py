"""RF-100 and RF-500 maps as whole processes: RasterML's engine against rivals on the same files, from file to file.

    python3 benchmarks/forest_map.py [--claims forest-tiles ...] [--noise 2 0 5] [--nodata 0 15] [--rounds 5]
                                     [--missing] [--side 1000] [--threads 2]

Every side is a fresh process that reads the pinned raster, predicts and writes a GeoTIFF; nobody starts QGIS.  The
forests are trained on the same table and have about the same number of nodes.  The claims of one raster share their
rounds; rivals that are not installed are left out with a sentence.  ``--side 1000 --rounds 2`` is a quick look, printed
and not kept; at that size RasterML's fixed costs weigh much.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pinned
from claims import BY_ID, CLAIMS, FOREST
from common import ROOT, THREADS, Seconds, command_line, interleaved, load_package, require
from kept import is_measured, record
from pinned import FOLDER, NOISE, Pinned

OURS = "rasterml"
SIDE = 2000  # of fewer pixels, blocks of boxes have less use: RF-500 would be 1.6 times faster instead of 2.9
BAGGED = 0.69  # of the rows, drawn with replacement, are half of them different: RasterML draws half without
OTB_SMALLEST_SPLIT = 4  # gives OpenCV's forest as many nodes as the others have
OTB_DEEPEST = 25  # OpenCV allows no more


class Setup(NamedTuple):
    """What claims share: a raster (as *changes* of the usual one), a forest, and the rival of each claim."""

    rivals: dict[str, str]
    changes: dict = {}
    trees: int = 100
    rows: int = 10_000
    side: int = SIDE


SETUPS = (
    Setup({"forest-tiles": "scikit-learn-tiles", "forest-strips": "scikit-learn-strips"}),
    Setup({"forest-blocks": "scikit-learn-blocks"}, {"layout": "striped"}),
    Setup({"forest-ten-uint16": "scikit-learn-tiles"}, {"bands": 10}),
    Setup({"forest-ten-float32": "scikit-learn-tiles"}, {"bands": 10, "kind": "float32"}),
    Setup({"forest-gdal": "gdal-copy"}, side=2 * SIDE),
    Setup({"forest-otb": "otb"}),
    Setup({"forest-500": "scikit-learn-tiles"}, trees=500, rows=100_000),
)
COMPARED = {
    "otb": "otbcli_ImageClassifier with OpenCV's random forest, uint8 output",
    "scikit-learn-tiles": "RandomForestClassifier.predict in 256 × 256 tiles read and written by GDAL",
    "scikit-learn-strips": "RandomForestClassifier.predict in strips of 5 % of the memory",
    "scikit-learn-blocks": "RandomForestClassifier.predict in the file's own blocks",
    "gdal-copy": "GDAL reading all bands and writing one compressed band of bytes",
}


def train_rasterml(X: np.ndarray, y: np.ndarray, trees: int, path: Path) -> None:
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.models import save_model
    from rasterml.engine.training import Table, collect, train

    names = [f"b{number}" for number in range(1, X.shape[1] + 1)]
    samples = collect([Table("table", X.astype(float), y.astype(float))], names, "class", CLASSIFICATION)
    save_model(train("trainrandomforest", samples, CLASSIFICATION, {"number_of_trees": trees}, THREADS), path)


def train_scikit_learn(X: np.ndarray, y: np.ndarray, trees: int, path: Path) -> None:
    import joblib
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(trees, max_samples=BAGGED, n_jobs=THREADS, random_state=0)
    joblib.dump(forest.fit(X, y), path)


def train_otb(X: np.ndarray, y: np.ndarray, trees: int, path: Path) -> None:
    """Write the table as a vector layer and train on it; all points lie at one place, which nobody looks at."""
    from osgeo import ogr

    with tempfile.TemporaryDirectory() as folder:
        layer_path = str(Path(folder) / "table.gpkg")
        source = ogr.GetDriverByName("GPKG").CreateDataSource(layer_path)
        layer = source.CreateLayer("table", None, ogr.wkbPoint)
        layer.CreateField(ogr.FieldDefn("class", ogr.OFTInteger))
        names = [f"b{number}" for number in range(1, X.shape[1] + 1)]
        for name in names:
            layer.CreateField(ogr.FieldDefn(name, ogr.OFTReal))
        layer.StartTransaction()
        for label, values in zip(y.tolist(), X.tolist()):
            feature = ogr.Feature(layer.GetLayerDefn())
            for number, value in enumerate([label, *values]):
                feature.SetField(number, value)
            feature.SetGeometry(ogr.CreateGeometryFromWkt("POINT (0 0)"))
            layer.CreateFeature(feature)
        layer.CommitTransaction()
        del layer, source
        settings = {
            "max": OTB_DEEPEST, "min": OTB_SMALLEST_SPLIT, "nbtrees": trees, "acc": 0, "var": int(np.sqrt(X.shape[1])),
        }  # fmt: skip
        command = ["otbcli_TrainVectorClassifier", "-io.vd", layer_path, "-io.out", str(path), "-cfield", "class"]
        command += ["-feat", *names, "-classifier", "rf", "-rand", "1"]
        execute(
            [*command, *(text for key, value in settings.items() for text in (f"-classifier.rf.{key}", str(value)))]
        )


def rasterml_nodes(path: Path) -> int:
    from rasterml.engine.models import load_model

    return load_model(path).arrays["feature"].size


def scikit_learn_nodes(path: Path) -> int:
    import joblib

    return sum(tree.tree_.node_count for tree in joblib.load(path).estimators_)


def otb_nodes(path: Path) -> int:
    with path.open(encoding="utf-8") as lines:
        return sum(line.strip().startswith("depth:") for line in lines)


KINDS: dict[str, tuple[Callable, Callable]] = {
    "rasterml": (train_rasterml, rasterml_nodes),
    "joblib": (train_scikit_learn, scikit_learn_nodes),
    "otb": (train_otb, otb_nodes),
}


def model(image: Pinned, trees: int, rows: int, kind: str) -> Path:
    """Return the path of a forest; train it when it is not there."""
    name = f"{pinned.TABLE_SIDE}_{image.bands}_{image.kind}_noise{image.noise}_{rows}_{trees}"
    path = FOLDER / f"{name}.{kind}"
    if not path.exists():
        print(f"training {path.name}", flush=True)
        unfinished = path.with_name(f"unfinished_{path.name}")
        KINDS[kind][0](*pinned.table(image, rows), trees, unfinished)
        unfinished.rename(path)
    return path


def kind_of(side: str) -> str:
    return {OURS: "rasterml", "otb": "otb"}.get(side, "joblib")


def command(side: str, image: Path, forest: Path | str, output: str, threads: int) -> list[str]:
    if side == "otb":
        return ["otbcli_ImageClassifier", "-in", str(image), "-model", str(forest), "-out", output, "uint8"]
    return [sys.executable, str(ROOT / "benchmarks" / "sides.py"), side, str(image), str(forest), output, str(threads)]


def execute(arguments: list[str], threads: int = THREADS) -> None:
    """Run a program with so many threads; leave with what it said when it fails."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def compare(setup: Setup, image: Pinned, rivals: dict[str, str], options: argparse.Namespace) -> None:
    """Run all sides of a setup in turn and record the ratio of every claim."""
    path = pinned.raster(image)
    sides = [OURS, *dict.fromkeys(rivals.values())]
    forests = {
        side: "-" if side == "gdal-copy" else model(image, setup.trees, setup.rows, kind_of(side)) for side in sides
    }
    nodes = {side: KINDS[kind_of(side)][1](forest) / setup.trees for side, forest in forests.items() if forest != "-"}
    print(f"{image}, {setup.trees} trees from {setup.rows:,} rows")
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        outputs = {side: str(Path(folder) / f"{side}.tif") for side in sides}

        def run(side: str) -> None:
            execute(command(side, path, forests[side], outputs[side], options.threads), options.threads)

        path.read_bytes()  # into the system's cache
        seconds = interleaved({side: lambda side=side: run(side) for side in sides}, options.rounds)
        for claim, rival in rivals.items():
            notes = [f"{side}: {nodes[side]:,.0f} nodes a tree" for side in (OURS, rival) if side in nodes]
            if rival in nodes:
                notes.append(f"{agreement(outputs[OURS], outputs[rival]):.1%} of the labels are the same")
            if rival == "otb":
                notes.append(f"OTB {version_of_otb()}")
            record(
                claim,
                str(image),
                *in_order(claim, seconds[OURS], seconds[rival]),
                compared=f"{COMPARED[rival]}, {options.threads} threads",
                notes="; ".join(notes),
                load=load,
                kept=not options.side,
            )


def in_order(claim: str, ours: list[Seconds], theirs: list[Seconds]) -> tuple[list[Seconds], list[Seconds]]:
    return (ours, theirs) if BY_ID[claim].at_most else (theirs, ours)


def agreement(one: str, other: str) -> float:
    """Return the share of equal pixels of two maps, where the second one is not 0."""
    from osgeo import gdal

    first, second = (gdal.Open(path).ReadAsArray() for path in (one, other))
    return float((first == second)[second != 0].mean())


def version_of_otb() -> str:
    done = subprocess.run(["otbcli_ImageClassifier", "-help"], capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).split("version ")
    return words[1].split()[0] if len(words) > 1 else "of unknown version"


def main() -> None:
    claims = [claim.id for claim in CLAIMS if claim.script == FOREST]
    parser = command_line(__doc__)
    parser.add_argument("--side", type=int, help="pixels a side (default: what suits the claim)")
    parser.add_argument("--claims", nargs="+", choices=claims, default=claims)
    parser.add_argument("--noise", nargs="+", type=int, choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--nodata", nargs="+", type=int, choices=(0, 15), default=[0, 15])
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    unavailable = {"otb"} if shutil.which("otbcli_ImageClassifier") is None else set()
    if unavailable and "forest-otb" in options.claims:
        print("OTB is not installed (Debian: otb-bin), so its claim is left out.")
    require("scikit-learn")
    load_package()
    for setup in SETUPS:
        for noise in options.noise:
            for nodata in options.nodata:
                image = Pinned(options.side or setup.side, noise=noise, nodata=nodata, **setup.changes)
                rivals = {
                    claim: rival
                    for claim, rival in setup.rivals.items()
                    if claim in options.claims
                    and rival not in unavailable
                    and (not nodata or claim == "forest-tiles")  # one claim shows what nodata do
                    and not (options.missing and is_measured(claim, str(image), options.rounds))
                }
                if rivals:
                    compare(setup, image, rivals, options)


if __name__ == "__main__":
    main()
