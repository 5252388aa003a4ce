"""Gives the checkout the name ``rasterml``, whatever its folder is called."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tracemalloc
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

if "rasterml" not in sys.modules:
    _spec = importlib.util.spec_from_file_location(
        "rasterml", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["rasterml"] = _module
    _spec.loader.exec_module(_module)


@pytest.fixture
def shared():
    """The folder of reference data and oracles; tests that need it are skipped for a stranger."""
    if not SHARED.is_dir():
        pytest.skip("the reference data (../shared) are not on this machine")
    return SHARED


@pytest.fixture
def limited_file_size():
    """A context manager under which no file grows beyond *size* bytes: writing fails as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def peak_memory(monkeypatch):
    """A function that calls another one and returns the largest number of bytes Python and numpy then held.

    Shared arrays are numpy's here: other memory would not be counted.
    """
    monkeypatch.setattr("rasterml.engine.shared_arrays.can_be_shared", lambda: False)

    def measure(function, *arguments):
        tracemalloc.start()
        try:
            function(*arguments)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


@pytest.fixture(params=["exceptions", "no exceptions"])
def gdal_habit(request):
    """Both states of GDAL's switch, which belongs to all of QGIS; its modules are switched off in a fixed order."""
    from osgeo import gdal, ogr, osr

    modules = (osr, ogr, gdal)  # Processing switches gdal on first, and GDAL insists on the reverse order
    before = [module.GetUseExceptions() for module in modules]
    for module in modules:
        module.DontUseExceptions()
    if request.param == "exceptions":
        gdal.UseExceptions()
    yield
    if request.param == "exceptions":
        gdal.DontUseExceptions()
    for module, was_on in reversed(list(zip(modules, before))):
        if was_on:
            module.UseExceptions()
