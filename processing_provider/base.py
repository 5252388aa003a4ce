"""What every RasterML algorithm shares: names, help, errors, cancellation, checked results."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from pathlib import Path
from typing import Any, Iterator

from qgis.core import QgsApplication, QgsProcessingAlgorithm, QgsProcessingException
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtGui import QIcon

from ..engine.errors import EngineError
from ..engine.progress import Progress

PLUGIN_FOLDER = Path(__file__).resolve().parent.parent
ICON = PLUGIN_FOLDER / "resources" / "icons" / "rasterml.svg"

# groupId: the group's title in the toolbox
GROUPS = {
    "sampling": "Sampling",
    "classifiers": "Classifiers",
    "clusterers": "Clusterers",
    "prediction": "Prediction",
    "segmentation": "Segmentation",
    "regression": "Regression",
    "accuracy": "Accuracy",
    "exchange": "Exchange",
    "limits": "Limits",
}


class FeedbackProgress(Progress):
    """The engine's progress, told to a QgsProcessingFeedback."""

    def __init__(self, feedback) -> None:
        self._feedback = feedback

    def is_canceled(self) -> bool:
        return self._feedback.isCanceled()

    def share(self, share: float) -> None:
        self._feedback.setProgress(100 * share)

    def message(self, text: str) -> None:
        self._feedback.pushInfo(text)

    def warn(self, text: str) -> None:
        self._feedback.pushWarning(text)


class RasterMlAlgorithm(QgsProcessingAlgorithm):
    """A translator: parameters in, one engine call, results out.

    A subclass sets ``NAME`` (the frozen id), ``TITLE``, ``GROUP`` (a key of `GROUPS`), ``TWIN`` (the Earth
    Engine function, or "") and ``HELP``, adds its parameters in ``initAlgorithm`` and returns the results of
    ``compute``.  ``check`` says before the run what cannot work; ``prepare`` runs in the main thread and is
    the place to read layers, renderers and the project.  All three raise `EngineError`s.
    """

    NAME = TITLE = GROUP = TWIN = HELP = ""

    def check(self, parameters: dict, context) -> None:
        """Raise an `EngineError` when *parameters* cannot work."""

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        """Read what only the main thread may read."""

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        """Do the work; return every output by name, as Python values."""
        raise TypeError(f"{type(self).__name__} does not say how to compute")

    def name(self) -> str:
        return self.NAME

    def displayName(self) -> str:
        return self.tr(self.TITLE)

    def group(self) -> str:
        return self.tr(GROUPS[self.GROUP])

    def groupId(self) -> str:
        return self.GROUP

    def tags(self) -> list[str]:
        twin = self.TWIN
        return [twin, twin.rpartition(".")[2], "Earth Engine", "machine learning"] if twin else ["machine learning"]

    def shortHelpString(self) -> str:
        first = f"Earth Engine: {self.TWIN}" if self.TWIN else self.tr("Earth Engine: no twin")
        return f"<p><b>{first}</b></p>{self.tr(self.HELP)}"

    def shortDescription(self) -> str:
        return self.tr(self.HELP.split("</p>")[0].replace("<p>", ""))

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def svgIconPath(self) -> str:
        return str(ICON)

    def createInstance(self):
        return type(self)()

    def tr(self, text: str) -> str:
        return QCoreApplication.translate("RasterML", text)

    def checkParameterValues(self, parameters: dict, context) -> tuple[bool, str]:
        try:
            self.check(parameters, context)
        except EngineError as error:
            return False, str(error)
        return super().checkParameterValues(parameters, context)

    def prepareAlgorithm(self, parameters: dict, context, feedback) -> bool:
        try:
            self.check(parameters, context)
            self.prepare(parameters, context, FeedbackProgress(feedback))
        except EngineError as error:
            raise refused(error) from error
        return True

    def processAlgorithm(self, parameters: dict, context, feedback) -> dict[str, Any]:
        with cancel_on_signals(feedback):
            try:
                results = self.compute(parameters, context, FeedbackProgress(feedback))
            except EngineError as error:
                raise refused(error) from error
        return checked_results(results)


def refused(error: EngineError) -> QgsProcessingException:
    """Return *error* as Processing's own exception.

    PyQGIS keeps exceptions for ever: their frames let go of open files and layers here, which would otherwise
    stay locked, and crash Python when they outlive QGIS.
    """
    traceback.clear_frames(error.__traceback__)
    return QgsProcessingException(str(error))


def checked_results(results: dict[str, Any]) -> dict[str, Any]:
    """Return *results*; a value that Processing would turn into "" or null is a bug and raises TypeError."""
    for name, value in results.items():
        if type(value) not in (str, int, float, bool, type(None)):
            raise TypeError(f"{name} is a {type(value).__name__}: return Python's own numbers and texts")
    return results


@contextlib.contextmanager
def cancel_on_signals(feedback) -> Iterator[None]:
    """In qgis_process, let SIGINT and SIGTERM cancel the run: it ignores the one and dies uncleaned of the other."""
    ours = QgsApplication.platform() == "qgis_process" and threading.current_thread() is threading.main_thread()
    if not ours:
        yield
        return

    def cancel(number, frame) -> None:
        feedback.cancel()

    old = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
