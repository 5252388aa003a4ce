"""Loading the packed plugin in a fresh Python: light, complete, and gone again."""

from __future__ import annotations

import json

import pytest

SCRIPT = """
import json, sys
from qgis.core import QgsApplication

application = QgsApplication([], False)
application.initQgis()
sys.path.insert(0, sys.argv[1])
import rasterml

plugin = rasterml.classFactory(None)
plugin.initProcessing()
plugin.initProcessing()
registry = QgsApplication.processingRegistry()
providers = [provider for provider in registry.providers() if provider.id() == "rasterml"]
algorithms = [algorithm.name() for algorithm in providers[0].algorithms()]
modules = sorted(sys.modules)
plugin.unload()
left = registry.providerById("rasterml") is not None
print(json.dumps({"providers": len(providers), "algorithms": algorithms, "modules": modules, "left": left}))
"""
ALGORITHMS = {
    "sampleregions", "trainrandomforest", "classify", "classifytable", "errormatrix", "confusionmatrix", "explain",
    "checklimits",
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(qgis, tmp_path_factory):
    script = tmp_path_factory.mktemp("loading") / "load.py"
    script.write_text(SCRIPT, "utf-8")
    run = qgis.python(script, str(qgis.plugins))
    assert run.exit_code == 0, run.errors
    return json.loads(run.output)


def test_loading_brings_one_provider_with_its_algorithms(loaded):
    assert loaded["providers"] == 1
    assert set(loaded["algorithms"]) >= ALGORITHMS


@pytest.mark.parametrize("library", ["sklearn", "scipy", "joblib", "pandas", "matplotlib"])
def test_loading_imports_no_heavy_library(loaded, library):
    assert "rasterml.processing_provider.provider" in loaded["modules"]
    assert [name for name in loaded["modules"] if name.split(".")[0] == library] == []


def test_unloading_takes_the_provider_away(loaded):
    assert not loaded["left"]
