"""Runs inside a QGIS Python of its own, started by the tests: `pyqgis_scripts.py TASK PLUGINS ARGUMENT`."""

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
    model, image = model_of_an_image("Land cover")
    for name in ("training", "held_out"):
        areas = QgsProcessingParameterVectorLayer(name, name, [QgsProcessing.SourceType.TypeVectorPolygon])
        model.addModelParameter(areas, QgsProcessingModelParameter(name))
    given = {"image": image, **{name: Source.fromModelParameter(name) for name in ("training", "held_out")}}

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
    write(model, path)


def save_design(path: str) -> None:
    """Save a model that draws samples by class, splits them, trains a tree on one part and validates with the other."""
    model, image = model_of_an_image("Sampling design")
    drawn = add_child(model, "stratifiedsample", INPUT=image, CLASS_BAND="cover", NUM_POINTS=30)
    settings = {"STRATEGY": "stratified", "CLASS_PROPERTY": "cover", "FRACTION": 0.6}
    split = add_child(model, "splitsamples", INPUT=drawn, **settings).outputChildId()
    training, validation = (Source.fromChildOutput(split, part) for part in ("TRAINING", "VALIDATION"))
    tree = add_child(model, "traincart", TRAINING=training, CLASS_PROPERTY="cover", MAX_NODES=2)
    add_child(model, "classify", {"OUTPUT": "map"}, INPUT=image, MODEL=tree)
    classified = add_child(model, "classifytable", INPUT=validation, MODEL=tree)
    matrix = {"INPUT": classified, "ACTUAL": "cover", "PREDICTED": "classification"}
    add_child(model, "errormatrix", {"OUTPUT": "matrix"}, **matrix)
    write(model, path)


def save_applications(text: str) -> None:
    """Save a model that applies and explains model files; *text* is JSON: its path, and the file of each learner."""
    request = json.loads(text)
    model, image = model_of_an_image("Applications")
    for learner, file in request["models"].items():
        add_child(model, "classify", {"OUTPUT": f"{learner} map"}, INPUT=image, MODEL=file)
        add_child(model, "explain", {"OUTPUT": f"{learner} explanation"}, MODEL=file)
    write(model, request["path"])


def save_children(text: str) -> None:
    """Save the model that JSON describes: its path and its children, each a name, an algorithm, inputs and outputs.

    An input that starts with @ is fed by the model's image (@image) or by the child of that name; the others are
    constants.  *outputs* of a child are the names of those that the model hands out, as "<child> <name>".
    """
    request = json.loads(text)
    model, image = model_of_an_image("Children")
    sources = {"@image": image}

    def fed(value):
        if isinstance(value, list) and value and str(value[0]).startswith("@"):
            return [sources[item] for item in value]
        return sources.get(value, value) if isinstance(value, str) else value

    for child in request["children"]:
        name, outputs = child["name"], {output: f"{child['name']} {output}" for output in child["outputs"]}
        inputs = {key: fed(value) for key, value in child["inputs"].items()}
        sources[f"@{name}"] = add_child(model, child["algorithm"], outputs, name, **inputs)
    write(model, request["path"])


def model_of_an_image(name: str) -> tuple[QgsProcessingModelAlgorithm, Source]:
    """Return a model with one parameter, `image`, and the source that feeds it to a child."""
    model = QgsProcessingModelAlgorithm(name, "Tests")
    image = QgsProcessingParameterMultipleLayers("image", "Image", QgsProcessing.SourceType.TypeRaster)
    model.addModelParameter(image, QgsProcessingModelParameter("image"))
    return model, Source.fromModelParameter("image")


def write(model: QgsProcessingModelAlgorithm, path: str) -> None:
    if not model.toFile(path):
        sys.exit(f"the model could not be saved as {path}")


def add_child(model, algorithm: str, outputs: dict[str, str] | None = None, name: str = "", **inputs) -> Source:
    """Add a child with its *inputs* (sources or constants) and model *outputs*; return what its OUTPUT feeds."""
    child = QgsProcessingModelChildAlgorithm(f"rasterml:{algorithm}")
    child.setChildId(name or f"{algorithm}_{len(model.childAlgorithms()) + 1}")
    for parameter, value in inputs.items():
        sources = value if isinstance(value, list) and value and isinstance(value[0], Source) else [value]
        sources = [source if isinstance(source, Source) else Source.fromStaticValue(source) for source in sources]
        child.addParameterSources(parameter, sources)
    model_outputs = {}
    for handed_out, title in (outputs or {}).items():
        output = QgsProcessingModelOutput(title)
        output.setChildId(child.childId())
        output.setChildOutputName(handed_out)
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
    tasks = {
        "model": save_model,
        "design": save_design,
        "applications": save_applications,
        "children": save_children,
        "batch": run_batch,
    }
    tasks[task](argument)
    plugin.unload()
    application.exitQgis()
