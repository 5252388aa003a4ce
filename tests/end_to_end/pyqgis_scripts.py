"""Runs inside a QGIS Python of its own, started by the tests: `pyqgis_scripts.py model|batch PLUGINS ARGUMENT`."""

from __future__ import annotations

import json
import sys

from qgis.core import (
    QgsApplication,
    QgsProcessing,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterVectorLayer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QCoreApplication

Source = QgsProcessingModelChildParameterSource


def save_model(path: str) -> None:
    """Save a model whose children are the eight algorithms, from image and areas to map and reports."""
    model = QgsProcessingModelAlgorithm("Land cover", "Tests")
    image = QgsProcessingParameterMultipleLayers("image", "Image", QgsProcessing.SourceType.TypeRaster)
    model.addModelParameter(image, QgsProcessingModelParameter("image"))
    for name in ("training", "held_out"):
        areas = QgsProcessingParameterVectorLayer(name, name, [QgsProcessing.SourceType.TypeVectorPolygon])
        model.addModelParameter(areas, QgsProcessingModelParameter(name))
    given = {name: Source.fromModelParameter(name) for name in ("image", "training", "held_out")}

    samples = add_child(model, "sampleregions", INPUT=given["image"], COLLECTION=given["training"])
    held_out = add_child(model, "sampleregions", INPUT=given["image"], COLLECTION=given["held_out"])
    forest = add_child(model, "trainrandomforest", TRAINING=samples, CLASS_PROPERTY="cover", NUMBER_OF_TREES=5)
    add_child(model, "classify", {"OUTPUT": "map"}, INPUT=given["image"], MODEL=forest)
    classified = add_child(model, "classifytable", INPUT=held_out, MODEL=forest)
    matrix = {"INPUT": classified, "ACTUAL": "cover", "PREDICTED": "classification"}
    add_child(model, "errormatrix", {"OUTPUT": "matrix"}, **matrix)
    add_child(model, "confusionmatrix", {"OUTPUT": "confusion"}, MODEL=forest)
    add_child(model, "explain", {"OUTPUT": "explanation"}, MODEL=forest)
    limits = {"INPUT": given["image"], "TRAINING": samples, "MODEL": forest}
    add_child(model, "checklimits", {"OUTPUT_HTML_FILE": "limits"}, **limits)
    if not model.toFile(path):
        sys.exit(f"the model could not be saved as {path}")


def add_child(model, algorithm: str, outputs: dict[str, str] | None = None, **inputs) -> Source:
    """Add a child with its *inputs* (sources or constants) and model *outputs*; return what its OUTPUT feeds."""
    child = QgsProcessingModelChildAlgorithm(f"rasterml:{algorithm}")
    child.setChildId(f"{algorithm}_{len(model.childAlgorithms()) + 1}")
    for name, value in inputs.items():
        source = value if isinstance(value, Source) else Source.fromStaticValue(value)
        child.addParameterSources(name, [source])
    model_outputs = {}
    for name, title in (outputs or {}).items():
        output = QgsProcessingModelOutput(title)
        output.setChildId(child.childId())
        output.setChildOutputName(name)
        model_outputs[title] = output
    child.setModelOutputs(model_outputs)
    return Source.fromChildOutput(model.addChildAlgorithm(child), "OUTPUT")


def run_batch(text: str) -> None:
    """Run rows in QGIS's own batch dialog; *text* is JSON: the algorithm and the parameters of each row."""
    from processing.core.Processing import Processing
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog

    class Batch(BatchAlgorithmDialog):
        outcome = None

        def handleAlgorithmResults(self, algorithm, context, feedback, parameters):  # noqa: N802
            """Load no layer."""

        def createSummaryTable(self, results, errors):  # noqa: N802
            self.outcome = [row["results"] for row in results], errors

    Processing.initialize()
    request = json.loads(text)
    # the dialog takes possession of its algorithm: not the registry's own
    dialog = Batch(QgsApplication.processingRegistry().createAlgorithmById(request["algorithm"]))
    dialog.execute(request["rows"])
    while dialog.outcome is None:
        QCoreApplication.processEvents()
    print(json.dumps(dialog.outcome))
    sip.delete(dialog)


if __name__ == "__main__":
    task, plugins, argument = sys.argv[1:]
    application = QgsApplication([], True)
    application.initQgis()
    sys.path[:0] = [plugins, f"{QgsApplication.pkgDataPath()}/python/plugins"]
    import rasterml

    plugin = rasterml.classFactory(None)
    plugin.initProcessing()
    {"model": save_model, "batch": run_batch}[task](argument)
    plugin.unload()
    application.exitQgis()
