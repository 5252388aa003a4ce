"""Every setting that RasterML stores in the user's profile, declared once.

They stand here and not in ``plugin/``, since ``qgis_process`` takes the defaults of parameters from them.
"""

from __future__ import annotations

from qgis.core import QgsSettingsEntryInteger, QgsSettingsEntryString, QgsSettingsTree

from ..engine.limits import POLICIES, TILE_SIDE, WARN

PLUGIN = "rasterml"

QgsSettingsTree.unregisterPluginTreeNode(PLUGIN)  # a reloaded plugin finds its old declarations, and they clash
NODE = QgsSettingsTree.createPluginTreeNode(PLUGIN)

LIMITS = QgsSettingsEntryString("limits", NODE, WARN, "What happens when a cap of Earth Engine is passed")
TILE_SIZE = QgsSettingsEntryInteger("tile_size", NODE, TILE_SIDE, "Side of a tile in pixels")
THREADS = QgsSettingsEntryInteger("threads", NODE, 0, "Threads of a run; 0 = all cores")
MEMORY_LIMIT = QgsSettingsEntryInteger("memory_limit", NODE, 1024, "Memory of a whole run in MB")


def limits_policy() -> str:
    """Return the stored policy; one that this version does not know counts as the default."""
    policy = LIMITS.value()
    return policy if policy in POLICIES else LIMITS.defaultValue()
