"""The Processing provider: the whole toolbox, in plain sight."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..engine.learners import CLASSIFIERS, CLUSTERERS
from ..engine.reducers import REDUCERS
from .algorithms.checklimits import CheckLimits
from .algorithms.classify import Classify, Cluster
from .algorithms.classifytable import ClassifyTable, ClusterTable
from .algorithms.confusionmatrix import ConfusionMatrix
from .algorithms.decisiontree import DecisionTree
from .algorithms.errormatrix import ErrorMatrix
from .algorithms.explain import Explain
from .algorithms.pixelregression import PixelRegression
from .algorithms.randomcolumn import RandomColumn
from .algorithms.randompoints import RandomPoints
from .algorithms.regresscolumns import RegressColumns
from .algorithms.regressionaccuracy import RegressionAccuracy
from .algorithms.regressregions import RegressRegions
from .algorithms.sample import Sample
from .algorithms.samplepatches import SamplePatches
from .algorithms.sampleregions import SampleRegions
from .algorithms.seedgrid import SeedGrid
from .algorithms.segmentgmeans import SegmentGMeans
from .algorithms.segmentkmeans import SegmentKMeans
from .algorithms.segmentstatistics import SegmentStatistics
from .algorithms.snic import Snic
from .algorithms.spectralregion import SpectralRegion
from .algorithms.splitsamples import SplitSamples
from .algorithms.stratifiedsample import StratifiedSample
from .algorithms.trainclassifier import TrainClassifier
from .algorithms.trainclusterer import TrainClusterer
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
        for clusterer in CLUSTERERS:
            self.addAlgorithm(TrainClusterer(clusterer))
        self.addAlgorithm(Classify())
        self.addAlgorithm(ClassifyTable())
        self.addAlgorithm(Cluster())
        self.addAlgorithm(ClusterTable())
        for reducer in REDUCERS:
            self.addAlgorithm(PixelRegression(reducer))
        self.addAlgorithm(RegressRegions())
        self.addAlgorithm(RegressColumns())
        self.addAlgorithm(Snic())
        self.addAlgorithm(SegmentKMeans())
        self.addAlgorithm(SegmentGMeans())
        self.addAlgorithm(SeedGrid())
        self.addAlgorithm(SegmentStatistics())
        self.addAlgorithm(ErrorMatrix())
        self.addAlgorithm(ConfusionMatrix())
        self.addAlgorithm(RegressionAccuracy())
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
