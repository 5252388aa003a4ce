"""The Processing provider: the whole toolbox, in plain sight."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..engine.learners import CLASSIFIERS
from .algorithms.checklimits import CheckLimits
from .algorithms.classify import Classify
from .algorithms.classifytable import ClassifyTable
from .algorithms.confusionmatrix import ConfusionMatrix
from .algorithms.decisiontree import DecisionTree
from .algorithms.errormatrix import ErrorMatrix
from .algorithms.explain import Explain
from .algorithms.randomcolumn import RandomColumn
from .algorithms.randompoints import RandomPoints
from .algorithms.sample import Sample
from .algorithms.samplepatches import SamplePatches
from .algorithms.sampleregions import SampleRegions
from .algorithms.spectralregion import SpectralRegion
from .algorithms.splitsamples import SplitSamples
from .algorithms.stratifiedsample import StratifiedSample
from .algorithms.trainclassifier import TrainClassifier
from .base import ICON


class RasterMlProvider(QgsProcessingProvider):
    def loadAlgorithms(self) -> None:
        self.addAlgorithm(Sample())
        self.addAlgorithm(SampleRegions())
        self.addAlgorithm(RandomColumn())
        self.addAlgorithm(RandomPoints())
        self.addAlgorithm(SplitSamples())
        self.addAlgorithm(StratifiedSample())
        self.addAlgorithm(SamplePatches())
        for learner in CLASSIFIERS:
            self.addAlgorithm(TrainClassifier(learner))
        self.addAlgorithm(SpectralRegion())
        self.addAlgorithm(DecisionTree())
        self.addAlgorithm(Classify())
        self.addAlgorithm(ClassifyTable())
        self.addAlgorithm(ErrorMatrix())
        self.addAlgorithm(ConfusionMatrix())
        self.addAlgorithm(Explain())
        self.addAlgorithm(CheckLimits())

    def id(self) -> str:
        return "rasterml"

    def name(self) -> str:
        return "Raster ML"

    def longName(self) -> str:
        return "Raster ML: Earth Engine's machine learning on the desktop"

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def svgIconPath(self) -> str:
        return str(ICON)
