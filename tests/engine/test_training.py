"""From tables to samples: labels, accumulation, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.classes import LandClass
from rasterml.engine.errors import SettingError, TableError
from rasterml.engine.learners import CLASSIFICATION, REGRESSION
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train
from small_models import make_samples


class Listener(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def table(labels, name="t", **more) -> Table:
    features = np.arange(2.0 * len(labels)).reshape(-1, 2)
    return Table(name, features, labels, **more)


def gather(*tables, mode=CLASSIFICATION, **keywords):
    return collect(tables, ["a", "b"], "class", mode, **keywords)


def test_text_labels_are_numbered_in_code_point_order_over_all_tables():
    samples = gather(table(["water", "Zea"]), table(["forest", "water"]))

    assert [(item.value, item.name) for item in samples.classes] == [(0, "Zea"), (1, "forest"), (2, "water")]
    assert samples.labels.tolist() == [2, 0, 1, 2]


def test_texts_that_all_read_as_numbers_are_numbers():
    samples = gather(table(["7", "10"]), table([0, 7.0]))

    assert [item.value for item in samples.classes] == [0, 7, 10]
    assert samples.labels.tolist() == [1, 2, 0, 1]


def test_texts_with_underscores_are_names():
    samples = gather(table(["3_17", "4_1"]))  # Python's float() reads them as 317 and 41

    assert [(item.value, item.name) for item in samples.classes] == [(0, "3_17"), (1, "4_1")]


def test_one_text_among_numbers_makes_all_of_them_texts():
    samples = gather(table([7.0, "x"]))

    assert [item.name for item in samples.classes] == ["7", "x"]


def test_tables_accumulate_in_their_order():
    samples = gather(table([1, 2]), table([2, 2, 1]))

    assert samples.rows == 5
    assert samples.bytes == 5 * 2 * 4
    assert samples.features[:, 0].tolist() == [0, 2, 0, 2, 4]
    assert samples.features.dtype == np.float32


def test_known_classes_lend_names_and_colours():
    known = [LandClass(1, "meadow", "#00ff00"), LandClass(5, "unused", "#000000")]

    assert gather(table([1, 2]), known_classes=known).classes[0] == LandClass(1, "meadow", "#00ff00")
    text = gather(table(["meadow", "lake"]), known_classes=known).classes
    assert (text[1].name, text[1].colour) == ("meadow", "#00ff00")
    assert len({item.colour for item in text}) == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 1.5], r"Class 1\.5 in class is not a whole number"),
        ([0, -1], r"Class -1 in class"),
        ([0, 2**31], r"Class 2\.14748e\+09"),
    ],
)
def test_impossible_labels_are_named(labels, message):
    with pytest.raises(TableError, match=message):
        gather(table(labels))


def test_only_one_class_is_refused_with_its_name():
    with pytest.raises(TableError, match="Only one class: every sample has class = lake"):
        train("trainrandomforest", gather(table(["lake", "lake"])), CLASSIFICATION, {})


def test_regression_needs_numbers():
    assert gather(table([0.5, -3]), mode=REGRESSION).labels.tolist() == [0.5, -3]
    with pytest.raises(TableError, match="Regression needs numbers: class of 't'"):
        gather(table([0.5, "x"]), mode=REGRESSION)


def test_subsampling_is_a_share_that_repeats_for_its_seed():
    tables = [table([row % 2 for row in range(4000)])]
    half, again = (gather(*tables, subsampling=0.5, subsampling_seed=4) for _ in range(2))
    other = gather(*tables, subsampling=0.5, subsampling_seed=5)

    assert 1850 < half.rows < 2150  # five standard deviations
    assert np.array_equal(half.features, again.features)
    assert not np.array_equal(half.features, other.features)
    with pytest.raises(SettingError, match="SUBSAMPLING is 0"):
        gather(*tables, subsampling=0)
    with pytest.raises(TableError, match="no rows left after SUBSAMPLING"):
        gather(table([0, 1]), subsampling=1e-9)


def test_subsampling_keeps_texts_places_and_regions_in_step():
    labels = [("a", "b")[row % 2] for row in range(300)]
    places = np.column_stack((np.arange(300.0), np.zeros(300)))
    samples = gather(table(labels, places=places, regions=[row // 10 for row in range(300)]), subsampling=0.3)

    numbers = samples.features[:, 0].astype(int) // 2
    assert samples.labels.tolist() == [number % 2 for number in numbers]
    assert len(set(zip(samples.regions.tolist(), (numbers // 10).tolist()))) == len(set(samples.regions.tolist()))


def test_whole_numbers_that_floats_merge_are_warned_of():
    listener = Listener()
    big = Table("t", np.array([[16_777_217.0, 1], [16_777_216.0, 2]]), [0, 1])

    collect([big], ["a", "b"], "class", CLASSIFICATION, progress=listener)

    assert len(listener.warnings) == 1
    assert "Predictor a of 't'" in listener.warnings[0]


def test_values_beyond_float32_are_refused():
    with pytest.raises(TableError, match="Predictor b in row 2 of 't' is 1e"):
        gather(Table("t", np.array([[1.0, 1], [1, 1e39]]), [0, 1]))


def test_contradicting_places_are_warned_of():
    listener = Listener()
    places = np.array([[0.0, 0], [0, 0], [1, 1], [1, 1], [np.nan, np.nan], [np.nan, np.nan]])

    gather(table([0, 1, 1, 1, 0, 1], places=places), progress=listener)

    assert listener.warnings == ["1 places carry more than one class: do training polygons of two classes overlap?"]


def test_summary_counts_rows_and_regions_of_each_class():
    features = np.random.default_rng(0).normal(size=(6, 2))
    tables = [
        Table("a", features[:4], [0, 0, 7, 7], regions=["0", "1", "1", "1"]),
        Table("b", features[4:], [7, 7], regions=["1", "2"]),
    ]

    model = train("trainrandomforest", gather(*tables), CLASSIFICATION, {"number_of_trees": 3})

    assert model.training["class_rows"] == [2, 4]
    assert model.training["class_regions"] == [2, 3]  # region 1 of another table is another region
    assert model.training["rows"] == 6
    assert model.training["bytes"] == 48


def test_confusion_is_that_of_the_training_samples():
    samples = make_samples()
    model = train("trainrandomforest", samples, CLASSIFICATION, {"number_of_trees": 5})
    confusion = np.array(model.training["confusion"])

    assert confusion.sum(axis=1).tolist() == np.bincount(samples.labels).tolist()
    assert model.training["accuracy"] == pytest.approx(np.trace(confusion) / 240)
    assert 0.8 < model.training["accuracy"] <= 1


def test_accuracy_of_a_regression_is_r_squared():
    samples = make_samples(REGRESSION)
    model = train("trainrandomforest", samples, REGRESSION, {"number_of_trees": 30})
    spread = samples.labels.std()

    assert model.training["accuracy"] == pytest.approx(1 - (model.training["rmse"] / spread) ** 2)
    assert model.training["accuracy"] > 0.9
    assert model.training["rmse"] < model.training["out_of_bag_error"] < spread


def test_unknown_modes_and_settings_are_refused():
    with pytest.raises(SettingError, match="has no mode RAW"):
        train("trainrandomforest", make_samples(), "RAW", {})
    with pytest.raises(SettingError, match="no setting named trees"):
        train("trainrandomforest", make_samples(), CLASSIFICATION, {"trees": 3})
    with pytest.raises(SettingError, match="NUMBER_OF_TREES is 0: it must be at least 1"):
        train("trainrandomforest", make_samples(), CLASSIFICATION, {"number_of_trees": 0})
