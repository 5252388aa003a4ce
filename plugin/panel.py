"""The dock panel: choose layers and a model, see them against Earth Engine's caps, start the algorithms."""

from __future__ import annotations

from qgis.core import Qgis, QgsCategorizedSymbolRenderer, QgsProcessingContext, QgsProcessingUtils, QgsProject
from qgis.gui import QgsDockWidget, QgsFieldComboBox, QgsFileWidget
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.limits import ENFORCE, IGNORE, POLICIES, WARN
from ..processing_provider import settings
from .choice import Choice, common_fields, model_size, parameters
from .gauge import GaugeView
from .layers import LayerList
from .measures import bands_measure, model_measure, next_step, training_measure

REFRESH_MILLISECONDS = 500


class RasterMlPanel(QgsDockWidget):
    """Emits ``algorithm_requested(id, parameters)`` when a button is pressed.

    No signal tells of rows added through a data provider or of a model file written anew, so the panel
    looks again twice a second while it is visible; unchanged gauges cost next to nothing.
    """

    algorithm_requested = pyqtSignal(str, dict)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("RasterMlPanel")  # QGIS remembers the dock's place by this name
        self.setWindowTitle(self.tr("Raster ML"))
        self.next_step = QLabel()
        self.images = LayerList(Qgis.LayerFilter.RasterLayer, self.tr("No raster file in this project yet"), "gdal")
        self.tables = LayerList(Qgis.LayerFilter.VectorLayer, self.tr("No vector layer or table in this project yet"))
        self.class_field = QgsFieldComboBox()
        self.model = QgsFileWidget()
        self.limits = QComboBox()
        self.training_gauge = GaugeView(self.tr("Training data"))
        self.bands_gauge = GaugeView(self.tr("Bands"))
        self.model_gauge = GaugeView(self.tr("Model"))
        self.buttons: dict[str, QPushButton] = {}
        self._prepare_widgets()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MILLISECONDS)
        self._connect()
        self.refresh()

    def choice(self) -> Choice:
        """Return what is chosen at the moment."""
        return Choice(
            tuple(self.images.ticked()),
            tuple(self.tables.ticked()),
            self.class_field.currentField(),
            self.model.filePath().strip(),
        )

    def refresh(self) -> None:
        """Bring fields, gauges and the next step up to date with the project and the disk."""
        self._offer_fields()
        choice = self.choice()
        self.training_gauge.show_measure(*training_measure(choice))
        self.bands_gauge.show_measure(*bands_measure(choice))
        self.model_gauge.show_measure(*model_measure(choice))
        empty_project = not self.images.layers() and not self.tables.layers()
        self.next_step.setText(next_step(choice, empty_project))

    def take_over(self, algorithm: str, results: dict) -> None:
        """Choose what a finished run of *algorithm* has made: the samples, or the model."""
        output = str(results.get("OUTPUT") or "")
        if output.endswith(".rasterml") and model_size(output) is not None:
            self.model.setFilePath(output)
        elif algorithm == "sampleregions":
            context = QgsProcessingContext()
            context.setProject(QgsProject.instance())
            samples = QgsProcessingUtils.mapLayerFromString(output, context, False)
            if samples is not None:
                self.tables.tick([samples])

    def _watch(self, visible: bool) -> None:
        if not visible:
            self._timer.stop()
            return
        self.limits.setCurrentIndex(POLICIES.index(settings.limits_policy()))
        self.refresh()
        self._timer.start()

    def _offer_fields(self) -> None:
        """Offer the fields that all ticked tables have; keep the chosen one, or take the styled one."""
        tables = tuple(self.tables.ticked())
        fields = common_fields(tables)
        names = fields.names()
        if names == self.class_field.fields().names():
            return
        chosen = self.class_field.currentField()
        self.class_field.setFields(fields)
        if chosen not in names:
            styled = (table.renderer() for table in tables)
            by_class = (one.classAttribute() for one in styled if isinstance(one, QgsCategorizedSymbolRenderer))
            chosen = next((name for name in by_class if name in names), "")
        self.class_field.setField(chosen)

    def _store_limits(self, index: int) -> None:
        settings.LIMITS.setValue(POLICIES[index])

    def _request(self, algorithm: str) -> None:
        self.algorithm_requested.emit(algorithm, parameters(algorithm, self.choice()))

    def _connect(self) -> None:
        for chosen in (self.images.changed, self.tables.changed, self.class_field.fieldChanged, self.model.fileChanged):
            chosen.connect(self._chosen)
        self.limits.activated.connect(self._store_limits)
        self._timer.timeout.connect(self.refresh)
        self.visibilityChanged.connect(self._watch)

    def _chosen(self, *_) -> None:
        self.refresh()

    def _prepare_widgets(self) -> None:
        self.next_step.setWordWrap(True)
        self.next_step.setMinimumWidth(1)
        self.images.setAccessibleName(self.tr("Image layers"))
        self.images.setToolTip(self.tr("The ticked layers are stacked in this order, band after band."))
        self.tables.setAccessibleName(self.tr("Training layers"))
        self.tables.setToolTip(self.tr("Training areas to sample, or sampled tables to train on."))
        self.class_field.setAllowEmptyFieldName(True)
        self.class_field.setAccessibleName(self.tr("Class field"))
        self.class_field.setToolTip(self.tr("The field with the class, a number or a text."))
        self.model.setStorageMode(QgsFileWidget.StorageMode.GetFile)
        self.model.setFilter(self.tr("Raster ML models") + " (*.rasterml)")
        self.model.setDialogTitle(self.tr("Choose a model"))
        self.model.setAccessibleName(self.tr("Model file"))
        self.model.setToolTip(self.tr("A .rasterml file, made by one of the training algorithms."))
        words = {
            WARN: self.tr("warn and go on"),
            ENFORCE: self.tr("stop, as Earth Engine does"),
            IGNORE: self.tr("say nothing"),
        }
        for policy in POLICIES:
            self.limits.addItem(words[policy], policy)
        self.limits.setCurrentIndex(POLICIES.index(settings.limits_policy()))
        self.limits.setAccessibleName(self.tr("Past a cap"))
        self.limits.setToolTip(self.tr("What a run does when it passes a cap of Earth Engine (the default of LIMITS)."))
        for combo in (self.class_field, self.limits):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(8)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for title, widget in (
            (self.tr("Class field"), self.class_field),
            (self.tr("Model"), self.model),
            (self.tr("Past a cap"), self.limits),
        ):
            form.addRow(title, widget)
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(_framed(self.next_step))
        column.addLayout(self._list_head(self.tr("Image"), self.images))
        column.addWidget(self.images)
        column.addLayout(self._list_head(self.tr("Training areas or samples"), self.tables))
        column.addWidget(self.tables)
        column.addLayout(form)
        column.addWidget(_line())
        for gauge in (self.training_gauge, self.bands_gauge, self.model_gauge):
            column.addWidget(gauge)
        column.addWidget(_line())
        for row in self._button_rows():
            column.addLayout(row)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(content)
        self.setWidget(scroll)

    def _list_head(self, title: str, layers: LayerList) -> QHBoxLayout:
        row = QHBoxLayout()
        label = QLabel(title)
        label.setBuddy(layers)
        label.setWordWrap(True)
        row.addWidget(label, 1)
        for text, tip, slot in (
            (self.tr("all"), self.tr("Tick all"), layers.tick_all),
            (self.tr("none"), self.tr("Tick none"), layers.tick_none),
        ):
            button = QToolButton()
            button.setText(text)
            button.setToolTip(tip)
            button.setAccessibleName(f"{title}: {tip}")
            button.setAutoRaise(True)
            button.clicked.connect(slot)
            row.addWidget(button)
        return row

    def _button_rows(self) -> list[QHBoxLayout]:
        lines = (
            [("sampleregions", self.tr("Sample regions…"))],
            [("trainrandomforest", self.tr("Train random forest…"))],
            [("classify", self.tr("Classify…"))],
            [("explain", self.tr("Explain…")), ("checklimits", self.tr("Check limits…"))],
        )
        rows = []
        for line in lines:
            row = QHBoxLayout()
            for algorithm, title in line:
                button = QPushButton(title)
                button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
                button.clicked.connect(lambda _, algorithm=algorithm: self._request(algorithm))
                self.buttons[algorithm] = button
                row.addWidget(button)
            rows.append(row)
        return rows


def _framed(label: QLabel) -> QFrame:
    frame = QFrame()
    frame.setFrameShape(QFrame.Shape.StyledPanel)
    inside = QVBoxLayout(frame)
    inside.setContentsMargins(8, 6, 8, 6)
    inside.addWidget(label)
    return frame


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line
