"""What QGIS creates, starts and unloads."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction

from ..processing_provider.base import ICON


class RasterMlPlugin:
    """The provider everywhere; in the desktop also the dock, its menu entry and its toolbar button."""

    def __init__(self, iface) -> None:
        self._iface = iface  # None in qgis_process
        self._provider = None
        self._panel = None
        self._action = None
        self._dialogs = []

    def initProcessing(self) -> None:
        """Bring the algorithms; qgis_process calls this and nothing else."""
        if self._provider is not None:
            return
        from ..processing_provider.provider import RasterMlProvider

        self._provider = RasterMlProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        self.initProcessing()
        if self._panel is not None:
            return
        from .panel import RasterMlPanel

        window = self._iface.mainWindow()
        self._action = QAction(QIcon(str(ICON)), _tr("Raster ML panel"), window)
        self._action.setObjectName("RasterMlAction")
        self._action.setToolTip(_tr("Raster ML: choose, train, classify, and see Earth Engine's caps"))
        self._action.setCheckable(True)
        self._panel = RasterMlPanel(window)
        self._panel.hide()
        self._panel.setToggleVisibilityAction(self._action)
        self._panel.algorithm_requested.connect(self._open_dialog)
        self._iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self._panel)
        self._iface.rasterMenu().addAction(self._action)
        self._iface.addToolBarIcon(self._action)

    def unload(self) -> None:
        """Take everything down, in reverse."""
        for dialog in self._open_dialogs():
            dialog.close()
        self._dialogs = []
        if self._panel is not None:
            self._iface.removeToolBarIcon(self._action)
            self._iface.rasterMenu().removeAction(self._action)
            self._iface.removeDockWidget(self._panel)
            self._panel.algorithm_requested.disconnect(self._open_dialog)
            for ours in (self._panel, self._action):
                ours.setParent(None)  # gone from the window at once, deleted when Qt comes to it
                ours.deleteLater()
            self._panel = self._action = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None

    def _open_dialog(self, algorithm: str, parameters: dict) -> None:
        import processing

        dialog = processing.createAlgorithmDialog(f"rasterml:{algorithm}", parameters)
        if dialog is None:
            self._iface.messageBar().pushWarning(
                "Raster ML", _tr("The algorithm {} is missing: switch the plugin off and on.").format(algorithm)
            )
            return
        dialog.algorithmFinished.connect(lambda done, results: self._finished(algorithm, done, results))
        self._dialogs = [*self._open_dialogs(), dialog]  # without a reference Python forgets it, and Run does nothing
        dialog.show()

    def _open_dialogs(self) -> list:
        return [dialog for dialog in self._dialogs if not sip.isdeleted(dialog)]

    def _finished(self, algorithm: str, done: bool, results: dict) -> None:
        if done and self._panel is not None:
            self._panel.take_over(algorithm, results)


def _tr(text: str) -> str:
    return QCoreApplication.translate("RasterML", text)
