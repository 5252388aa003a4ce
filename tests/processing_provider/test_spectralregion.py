"""Polygons in the plane of two bands become a model that maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_world import pinned, read, refusal, run, values, write_image

pytestmark = pytest.mark.usefixtures("provider")

BOX = "[[30, 80, 50, 80, 50, 120, 30, 120]]"


def test_it_has_the_frozen_parameters(provider):
    algorithm = provider.algorithm("spectralregion")

    assert pinned(algorithm) == {
        "COORDINATES": None,
        "SCHEMA": "u,v",
        "LIMITS": "Warn",
        "OUTPUT": None,
        "OUTPUT_HTML_FILE": None,
    }
    assert algorithm.groupId() == "classifiers"
    assert "spectralRegion" in algorithm.tags()


def test_rings_become_a_map_of_ones_and_zeros(tmp_path):
    results = run(
        "spectralregion",
        COORDINATES=BOX,
        SCHEMA="red,nir",
        OUTPUT=str(tmp_path / "m.rasterml"),
        OUTPUT_HTML_FILE=str(tmp_path / "page.html"),
    )
    image = write_image(tmp_path / "image.tif")
    run("classify", INPUT=[image], MODEL=results["OUTPUT"], OUTPUT=str(tmp_path / "map.tif"))
    run("explain", MODEL=results["OUTPUT"], OUTPUT=str(tmp_path / "explain.json"))

    red, nir = values()[:, 5:]
    classes = read(tmp_path / "map.tif")[0]
    expected = (red >= 30) & (red < 50) & (nir >= 80) & (nir < 120)
    assert np.array_equal(classes[5:], expected)
    assert 0 < expected.sum() < expected.size
    assert (classes[:5] > 1).all()  # no data
    assert results["RINGS"] == 1
    assert results["MODEL_BYTES"] == (tmp_path / "m.rasterml").stat().st_size
    assert json.loads((tmp_path / "explain.json").read_text())["schema"] == ["red", "nir"]
    assert "inside" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"COORDINATES": "[[1, 2, 3]]"}, "Ring 1 of COORDINATES has 3 numbers"),
        ({"COORDINATES": "1, 2, 3"}, "COORDINATES is not JSON"),
        ({"COORDINATES": BOX, "SCHEMA": "red"}, "SCHEMA is 'red': give two different band names"),
    ],
)
def test_impossible_texts_are_a_sentence(parameters, message, tmp_path):
    said = refusal("spectralregion", **parameters, OUTPUT=str(tmp_path / "m.rasterml"))

    assert message in said
    assert list(tmp_path.iterdir()) == []
