"""A list of the project's layers to tick, which follows the project by itself."""

from __future__ import annotations

from typing import Iterable

from qgis.core import Qgis, QgsMapLayer, QgsMapLayerModel, QgsMapLayerProxyModel, QgsProject, QgsProviderRegistry
from qgis.PyQt.QtCore import QRectF, QSize, Qt, pyqtSignal
from qgis.PyQt.QtGui import QPainter, QPalette, QTextOption
from qgis.PyQt.QtWidgets import QAbstractItemView, QListView, QSizePolicy, QStyledItemDelegate

FEWEST_ROWS, MOST_ROWS = 2, 6


class LayerList(QListView):
    """Ticked layers, in the order of the list (by name); ``changed`` is emitted whenever they may be others."""

    changed = pyqtSignal()

    def __init__(self, kind: Qgis.LayerFilter, hint: str, provider: str = "") -> None:
        """Offer the layers of *kind*, all or those of one data *provider*; *hint* stands where none is."""
        super().__init__()
        self._hint = hint
        self._layers = QgsMapLayerModel(self, QgsProject.instance())
        self._layers.setItemsCheckable(True)
        self._shown = QgsMapLayerProxyModel(self)
        self._shown.setSourceModel(self._layers)
        self._shown.setFilters(kind)
        if provider:
            others = [key for key in QgsProviderRegistry.instance().providerList() if key != provider]
            self._shown.setExcludedProviders(others)
        self._shown.sort(0)
        self.setModel(self._shown)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setItemDelegate(_AsWideAsTheList(self))
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for signal in (self._shown.rowsInserted, self._shown.rowsRemoved, self._shown.modelReset):
            signal.connect(self._rows_changed)
        for signal in (self._shown.dataChanged, self._shown.layoutChanged):
            signal.connect(self.changed)

    def layers(self) -> list[QgsMapLayer]:
        """Return every layer on offer, ticked or not."""
        indexes = [self._shown.index(row, 0) for row in range(self._shown.rowCount())]
        return [self._layers.layerFromIndex(self._shown.mapToSource(index)) for index in indexes]

    def ticked(self) -> list[QgsMapLayer]:
        """Return the ticked layers that are valid."""
        ticked = {layer.id() for layer in self._layers.layersChecked()}
        return [layer for layer in self.layers() if layer.id() in ticked and layer.isValid()]

    def tick(self, layers: Iterable[QgsMapLayer]) -> None:
        """Tick *layers* and no others."""
        self._layers.setLayersChecked(list(layers))

    def tick_all(self) -> None:
        self.tick(self.layers())

    def tick_none(self) -> None:
        self.tick([])

    def sizeHint(self) -> QSize:
        rows = min(max(self._shown.rowCount(), FEWEST_ROWS), MOST_ROWS)
        height = max(self.sizeHintForRow(0), self.fontMetrics().height() + 4)
        return QSize(200, rows * height + 2 * self.frameWidth())

    def minimumSizeHint(self) -> QSize:
        return QSize(80, self.sizeHint().height())

    def paintEvent(self, event) -> None:
        super().paintEvent(event)
        if self._shown.rowCount():
            return
        painter = QPainter(self.viewport())
        painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
        place = QRectF(self.viewport().rect().adjusted(6, 0, -6, 0))
        painter.drawText(place, self._hint, QTextOption(Qt.AlignmentFlag.AlignCenter))
        painter.end()

    def _rows_changed(self) -> None:
        self.updateGeometry()
        self.viewport().update()
        self.changed.emit()


class _AsWideAsTheList(QStyledItemDelegate):
    """Long names are cut in their middle; without this, the list would scroll sideways."""

    def sizeHint(self, option, index) -> QSize:
        return QSize(0, super().sizeHint(option, index).height())
