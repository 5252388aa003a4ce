from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from qgis.core import QgsApplication
from qgis.PyQt import sip
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QDialog, QDockWidget, QMainWindow
from rasterml import classFactory


class Desktop:
    """As much of QGIS's interface as a plugin meets, with a real window behind it."""

    def __init__(self) -> None:
        self.window = QMainWindow()
        self.menu = self.window.menuBar().addMenu("Raster")
        self.toolbar = self.window.addToolBar("Plugins")

    def mainWindow(self):  # noqa: N802
        return self.window

    def rasterMenu(self):  # noqa: N802
        return self.menu

    def addToolBarIcon(self, action):  # noqa: N802
        self.toolbar.addAction(action)

    def removeToolBarIcon(self, action):  # noqa: N802
        self.toolbar.removeAction(action)

    def addDockWidget(self, area, dock):  # noqa: N802
        self.window.addDockWidget(area, dock)

    def removeDockWidget(self, dock):  # noqa: N802
        self.window.removeDockWidget(dock)

    def docks(self):
        return self.window.findChildren(QDockWidget)


def providers() -> int:
    return sum(provider.id() == "rasterml" for provider in QgsApplication.processingRegistry().providers())


@pytest.fixture
def inventory(settle):
    """A function that counts docks, menu entries, buttons and providers."""

    def count(desktop: Desktop) -> tuple[int, int, int, int]:
        settle()
        return len(desktop.docks()), len(desktop.menu.actions()), len(desktop.toolbar.actions()), providers()

    return count


@pytest.fixture
def desktop(qgis_new_project, settle):
    desktop = Desktop()
    desktop.window.show()
    yield desktop
    desktop.window.deleteLater()
    settle()


@pytest.fixture
def plugin(desktop, settle):
    plugin = classFactory(desktop)
    plugin.initGui()
    yield plugin
    plugin.unload()
    settle()


def test_desktop_gets_one_dock_one_menu_entry_one_button_and_one_provider(plugin, desktop, inventory):
    assert inventory(desktop) == (1, 1, 1, 1)


def test_provider_comes_once_when_processing_starts_before_the_desktop(plugin, desktop, inventory):
    plugin.initProcessing()
    plugin.initGui()

    assert inventory(desktop) == (1, 1, 1, 1)


def test_unloading_leaves_nothing_behind(plugin, desktop, inventory):
    panel, action = plugin._panel, plugin._action
    panel.show()

    plugin.unload()

    assert inventory(desktop) == (0, 0, 0, 0)
    assert sip.isdeleted(panel)
    assert sip.isdeleted(action)


def test_loading_again_brings_one_of_everything(plugin, desktop, inventory):
    for _ in range(2):
        plugin.unload()
        plugin.initGui()

    assert inventory(desktop) == (1, 1, 1, 1)


def test_unloading_twice_is_harmless(plugin, desktop, inventory):
    plugin.unload()
    plugin.unload()

    assert inventory(desktop) == (0, 0, 0, 0)


def test_button_shows_and_hides_the_dock(plugin, desktop):
    (action,) = desktop.menu.actions()
    (dock,) = desktop.docks()
    assert not dock.isVisible()

    action.trigger()
    assert dock.isVisible() and action.isChecked()

    action.trigger()
    assert not dock.isVisible() and not action.isChecked()

    action.trigger()
    dock.close()
    assert not action.isChecked()


def test_qgis_process_gets_the_algorithms_without_a_desktop(qgis_new_project):
    plugin = classFactory(None)
    plugin.initProcessing()
    assert providers() == 1

    plugin.unload()
    assert providers() == 0


def test_run_that_ends_after_unloading_is_ignored(plugin):
    plugin.unload()

    plugin._finished("trainrandomforest", True, {"OUTPUT": "forest.rasterml"})


def test_loaded_again_from_disk_the_settings_are_declared_anew(qgis_new_project):
    """QGIS forgets a plugin's modules when it unloads it, but the settings tree remembers their declarations."""
    import importlib

    from rasterml.processing_provider import settings

    importlib.reload(settings)

    assert (settings.limits_policy(), settings.TILE_SIZE.value()) == ("Warn", 256)
    assert (settings.THREADS.value(), settings.MEMORY_LIMIT.value()) == (0, 1024)


def test_stored_policy_that_does_not_exist_counts_as_warn(qgis_new_project):
    from rasterml.processing_provider import settings

    settings.LIMITS.setValue("Explode")
    try:
        assert settings.limits_policy() == "Warn"
    finally:
        settings.LIMITS.remove()


class Dialog(QDialog):
    """Processing's dialog, as far as the plugin knows it."""

    algorithmFinished = pyqtSignal(bool, dict)  # noqa: N815


def test_dialog_is_kept_while_it_is_open_and_closed_with_the_plugin(plugin, desktop, monkeypatch, settle):
    """Processing gives its dialog to the window in C++ only: unkept, its Python half goes and Run does nothing."""
    opened = {}

    def create(algorithm, parameters):
        opened[algorithm] = Dialog(desktop.window)
        return opened[algorithm]

    monkeypatch.setitem(sys.modules, "processing", SimpleNamespace(createAlgorithmDialog=create))

    plugin._panel.buttons["explain"].click()
    plugin._panel.buttons["classify"].click()
    assert plugin._open_dialogs() == [opened["rasterml:explain"], opened["rasterml:classify"]]
    assert all(dialog.isVisible() for dialog in opened.values())

    opened["rasterml:explain"].deleteLater()
    settle()
    assert plugin._open_dialogs() == [opened["rasterml:classify"]]

    plugin.unload()
    assert not opened["rasterml:classify"].isVisible()


def test_model_of_a_finished_run_is_chosen_and_that_of_a_failed_one_is_not(plugin, desktop, monkeypatch, tmp_path):
    dialog = Dialog(desktop.window)
    processing = SimpleNamespace(createAlgorithmDialog=lambda algorithm, parameters: dialog)
    monkeypatch.setitem(sys.modules, "processing", processing)
    model = tmp_path / "forest.rasterml"
    model.write_bytes(b"x")
    plugin._panel.buttons["trainrandomforest"].click()

    dialog.algorithmFinished.emit(False, {"OUTPUT": str(model)})
    assert plugin._panel.choice().model == ""

    dialog.algorithmFinished.emit(True, {"OUTPUT": str(model)})
    assert plugin._panel.choice().model == str(model)
