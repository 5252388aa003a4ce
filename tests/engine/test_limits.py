from __future__ import annotations

import re

import numpy as np
import pytest
from rasterml.engine.errors import LimitExceeded, SettingError
from rasterml.engine.limits import (
    BANDS_CAP,
    MODEL_BYTES_CAP,
    TRAINING_VALUES_CAP,
    bands_gauge,
    leaves_per_tree,
    mebibytes,
    model_gauge,
    obey,
    percent,
    sentence,
    tile_bytes,
    training_gauge,
    verdict,
)
from rasterml.engine.progress import Progress

FOREST = {"number_of_trees": 100, "max_nodes": None, "min_leaf_population": 1, "seed": 0}


class Listener(Progress):
    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


def advised(gauge, pattern):
    """The number that the advice of *gauge* names."""
    return float(re.search(pattern, gauge.advice).group(1).replace(",", ""))


def test_the_caps_are_those_that_earth_engine_documents():
    assert TRAINING_VALUES_CAP == 26_214_400
    assert BANDS_CAP == 400
    assert MODEL_BYTES_CAP == tile_bytes(400) == 104_857_600


@pytest.mark.parametrize(
    ("gauge", "state"),
    [
        (training_gauge(0, 6), "ok"),
        (training_gauge(20_971_519, 1), "ok"),
        (training_gauge(20_971_520, 1), "near"),  # 80 %
        (training_gauge(262_144, 100), "near"),  # exactly the cap is allowed
        (training_gauge(26_214_401, 1), "over"),
        (bands_gauge(0), "ok"),
        (bands_gauge(319), "ok"),
        (bands_gauge(320), "near"),
        (bands_gauge(399), "near"),
        (bands_gauge(400), "over"),  # fewer than 400 are allowed
        (model_gauge(0), "ok"),
        (model_gauge(83_886_079), "ok"),
        (model_gauge(83_886_080), "near"),
        (model_gauge(104_857_599), "near"),
        (model_gauge(104_857_600), "over"),  # below 100 MiB is allowed
    ],
    ids=lambda item: item if isinstance(item, str) else f"{item.id}-{item.value}",
)
def test_the_state_changes_exactly_at_80_percent_and_at_the_cap(gauge, state):
    assert gauge.state == state
    assert bool(gauge.advice) == (state != "ok")


def test_figures_tell_the_calculation():
    assert training_gauge(12_000, 6).figures == "12,000 rows × 6 predictors × 4 bytes = 0.27 MiB of 100 MiB (0.3 %)"
    assert "1 row × 1 predictor × 4 bytes = less than 0.01 MiB" in training_gauge(1, 1).figures
    assert bands_gauge(6).figures == (
        "6 bands (fewer than 400) × 256 × 256 pixels × 4 bytes = 1.50 MiB per tile of 100 MiB (1.5 %)"
    )
    assert model_gauge(5_242_880).figures == "5,242,880 bytes = 5.00 MiB of 100 MiB (5.0 %)"


def test_a_table_lends_its_name_to_the_title():
    assert training_gauge(5, 2, "polygons").title == "Training data (polygons)"


@pytest.mark.parametrize(("rows", "predictors"), [(26_214_401, 1), (700_000, 100), (9_000_001, 7), (10**9, 100)])
def test_following_the_advice_on_training_brings_it_under_the_cap(rows, predictors):
    gauge = training_gauge(rows, predictors)

    fraction = advised(gauge, r"SUBSAMPLING=([\d.]+\d)")
    most_rows = advised(gauge, r"at most ([\d,]+) row")
    parts = advised(gauge, r"into ([\d,]+) and")

    assert 0 < fraction < 1
    assert training_gauge(round(rows * fraction), predictors).share < 0.96
    assert training_gauge(int(most_rows), predictors).state != "over"
    assert training_gauge(int(most_rows) + 1, predictors).state == "over"
    assert training_gauge(-int(-rows // parts), predictors).state != "over"
    if "INPUT_PROPERTIES" in gauge.advice:
        most_predictors = int(advised(gauge, r"at most ([\d,]+) predictors? with INPUT_PROPERTIES"))
        assert most_predictors >= 1
        assert training_gauge(rows, most_predictors).state != "over"


def test_advice_multiplies_the_subsampling_that_is_already_set():
    half = training_gauge(700_000, 100, subsampling=0.5)
    whole = training_gauge(700_000, 100)

    assert advised(half, r"SUBSAMPLING=([\d.]+\d)") == pytest.approx(
        advised(whole, r"SUBSAMPLING=([\d.]+\d)") / 2, abs=0.01
    )


def test_a_table_near_the_cap_hears_how_much_room_is_left():
    # 26 214 400 / 100 = 262 144 rows; 26 214 400 / 250 000 = 104.8 predictors
    assert training_gauge(250_000, 100).advice == "There is room for 12,144 more rows, or for 4 more predictors."
    assert bands_gauge(398).advice == "There is room for 1 more band."
    assert bands_gauge(399).advice == "There is no room for another band."


@pytest.mark.parametrize(("bands", "side"), [(400, 256), (5000, 256), (30, 1000), (2, 6000)])
def test_following_the_advice_on_bands_brings_them_under_the_cap(bands, side):
    gauge = bands_gauge(bands, side)

    assert gauge.state == "over"
    if "BANDS" in gauge.advice:
        assert bands_gauge(int(advised(gauge, r"at most ([\d,]+) band")), side).state == "near"
    if side > 256:
        assert bands_gauge(bands, int(advised(gauge, r"TILE_SIZE=(\d+)"))).share < 1


def test_bands_on_a_tile_of_another_side_are_measured_in_bytes():
    # 1000 × 1000 × 4 bytes × 26 bands = 104 000 000 of 104 857 600
    assert bands_gauge(26, 1000).state == "near"
    assert bands_gauge(27, 1000).state == "over"
    assert bands_gauge(399, 17).state == "ok"


@pytest.mark.parametrize("size", [104_857_600, 150_000_000, 1_200_000_000])
def test_following_the_advice_on_a_forest_brings_it_under_the_cap(size):
    leaves = 12_500
    gauge = model_gauge(size, FOREST, leaves)

    # A forest's size is in proportion to its trees and their leaves; leaves are fewer as their population grows.
    assert size * advised(gauge, r"NUMBER_OF_TREES=(\d+)") / 100 < MODEL_BYTES_CAP
    assert size * advised(gauge, r"MAX_NODES=(\d+)") / leaves < MODEL_BYTES_CAP


def test_advice_names_no_setting_that_the_learner_lacks_or_that_cannot_help():
    assert "MAX_NODES" not in model_gauge(2 * MODEL_BYTES_CAP, FOREST).advice  # leaves unknown
    assert "NUMBER_OF_TREES" not in model_gauge(2 * MODEL_BYTES_CAP, {"number_of_trees": 1}, 5e6).advice
    assert "SUBSAMPLING=0.47" in model_gauge(2 * MODEL_BYTES_CAP, {"k": 1}).advice


def test_leaves_are_counted_per_tree():
    # A tree of one leaf and one of three (two splits); leaves have the feature -1.
    arrays = {"tree_start": np.array([0, 1, 6]), "feature": np.array([-1, 4, -1, 0, -1, -1])}

    assert leaves_per_tree(arrays) == 2
    assert leaves_per_tree({"centroids": np.zeros((2, 3))}) is None


def test_the_verdict_is_the_worst_state():
    fine, near, over = training_gauge(1, 1), bands_gauge(399), model_gauge(MODEL_BYTES_CAP)

    assert verdict([]) == verdict([fine]) == "ok"
    assert verdict([near, fine]) == "near"
    assert verdict([near, over, fine]) == "over"


def test_warn_warns_of_what_is_near_or_over_and_of_nothing_else():
    listener = Listener()
    for bands in (6, 399, 400):
        obey(bands_gauge(bands), "Warn", listener)

    assert listener.warnings == [sentence(bands_gauge(399)), sentence(bands_gauge(400))]


def test_enforce_raises_when_over_and_warns_when_near():
    listener = Listener()
    obey(bands_gauge(399), "Enforce", listener)

    assert len(listener.warnings) == 1
    with pytest.raises(LimitExceeded, match=r"400 bands.*at most 399 bands with BANDS"):
        obey(bands_gauge(400), "Enforce", listener)


def test_ignore_says_nothing():
    listener = Listener()
    obey(bands_gauge(4000), "Ignore", listener)

    assert listener.warnings == []


def test_an_unknown_policy_is_refused():
    with pytest.raises(SettingError, match="LIMITS is 'enforce'"):
        obey(bands_gauge(6), "enforce", Listener())


def test_sizes_and_shares_read_well():
    assert [mebibytes(size * 2**20) for size in (0, 0.004, 0.27, 9.994, 9.996, 58.44, 99.96, 1234)] == [
        "0.00 MiB", "less than 0.01 MiB", "0.27 MiB", "9.99 MiB", "10.0 MiB", "58.4 MiB", "100 MiB", "1,234 MiB",
    ]  # fmt: skip
    assert [percent(share) for share in (0, 0.0027, 0.99999, 1, 1.00001, 12.5)] == [
        "0.0 %", "0.3 %", "99.9 %", "100.0 %", "100.1 %", "1,250.0 %",
    ]  # fmt: skip
