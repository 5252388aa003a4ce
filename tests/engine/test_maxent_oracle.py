"""AMNH Maxent 3.4.4 itself: its models applied, its training repeated, its file form."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rasterml.engine.classes import class_table
from rasterml.engine.errors import ModelFileError
from rasterml.engine.explanation import explain
from rasterml.engine.learners import CLASSIFICATION
from rasterml.engine.maxent_lambdas import lambdas_text, read_lambdas
from rasterml.engine.maxent_model import MaxentPredictor, cumulative_table, raw_values
from rasterml.engine.models import Model
from rasterml.engine.training import Table, collect, train
from small_models import defaults

ORACLE = Path(__file__).resolve().parents[3] / "shared" / "oracle" / "maxent"
CASES = sorted(path.parent.name for path in ORACLE.glob("*/results.json"))
each_case = pytest.mark.parametrize("case", CASES or [pytest.param("", marks=pytest.mark.skip("no oracle here"))])

OUTPUTS = ("raw", "cumulative", "logistic", "cloglog")
SETTINGS = {
    "autofeature": "auto_feature",
    "betamultiplier": "beta_multiplier",
    "doclamp": "do_clamp",
    "addsamplestobackground": "add_samples_to_background",
    "addallsamplestobackground": "add_all_samples_to_background",
}


def rows_of(path: Path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def settings_of(results: dict) -> dict:
    settings = {"categorical_names": results["categorical"]}
    for option in results["options"].split():
        name, value = option.split("=")
        settings[SETTINGS.get(name, name)] = value == "true" if value in ("true", "false") else float(value)
    return settings


class Case:
    """One folder: tables as float arrays (rows, predictors), the program's predictions and results."""

    def __init__(self, case: str) -> None:
        self.results = json.loads((ORACLE / case / "results.json").read_text())
        self.lambdas = (ORACLE / case / "model.lambdas.txt").read_text()
        self.settings = settings_of(self.results)
        self.predictors, self.arrays = read_lambdas(self.lambdas)
        tables = {key: rows_of(ORACLE / self.results[key]) for key in ("presence", "background", "test")}
        self.presence, self.background = (self.columns(tables[key]) for key in ("presence", "background"))
        wanted = rows_of(ORACLE / case / "predictions.csv")
        sets = {"train_presence": "presence", "background": "background", "test": "test"}
        rows = {key: {row["x"]: row for row in table} for key, table in tables.items()}
        self.points = self.columns([rows[sets[row["set"]]][row["x"]] for row in wanted])
        self.wanted = {name: np.array([float(row[name]) for row in wanted]) for name in OUTPUTS}
        self.is_background = np.array([row["set"] == "background" for row in wanted])

    def columns(self, rows: list[dict]) -> np.ndarray:
        return np.array([[float(row[name]) for name in self.predictors] for row in rows])

    def predicted(self, output_format: str, arrays) -> np.ndarray:
        settings = {**defaults("trainmaxent"), **self.settings, "output_format": output_format}
        model = Model(
            "trainmaxent", CLASSIFICATION, settings, self.predictors, class_table([0, 1]), "class", dict(arrays)
        )
        MaxentPredictor.check(model)
        predictor = MaxentPredictor(model)
        return predictor.values(self.points.T.copy(), predictor.clamp, lambda: None)

    def training_points(self) -> np.ndarray:
        """Background and the presences that the case adds to it (all of them, except where it adds none)."""
        alone = self.settings.get("add_samples_to_background") is False
        return (self.background if alone else np.concatenate((self.background, self.presence))).T


@cache
def case_of(case: str) -> Case:
    return Case(case)


@cache
def trained(case: str) -> Model:
    it = case_of(case)
    labels = np.repeat([1.0, 0.0], (len(it.presence), len(it.background)))
    table = Table(case, np.concatenate((it.presence, it.background)), labels)
    samples = collect([table], it.predictors, "class", CLASSIFICATION)
    return train("trainmaxent", samples, CLASSIFICATION, {**it.settings, "output_format": "cumulative"})


def without_cumulative(model: Model) -> dict:
    return {name: array for name, array in model.arrays.items() if not name.startswith("cumulative")}


@each_case
def test_model_of_maxent_gives_its_outputs(case):
    it = case_of(case)
    raw = it.predicted("raw", it.arrays)

    # The program writes raw values of background points with six digits: what it wrote is ours, rounded.
    assert raw[~it.is_background] == pytest.approx(it.wanted["raw"][~it.is_background], rel=1e-6)
    wanted = it.wanted["raw"][it.is_background]
    half_a_digit = 0.5 * 10 ** (np.floor(np.log10(wanted)) - 5)
    assert (np.abs(raw[it.is_background] - wanted) <= half_a_digit * (1 + 1e-6)).all()
    for output_format in ("logistic", "cloglog"):
        assert it.predicted(output_format, it.arrays) == pytest.approx(it.wanted[output_format], abs=1e-6)


@each_case
def test_cumulative_output_is_near_that_of_maxent(case):
    it = case_of(case)
    raw = raw_values(it.arrays, it.training_points(), True, True, lambda: None)
    assert raw.sum() == pytest.approx(1, abs=1e-6)

    values = it.predicted("cumulative", {**it.arrays, **cumulative_table(raw)})

    # Maxent's own table is coarser: up to 0.2, beside a block of ties up to 2; within a block it may stand anywhere.
    own = it.predicted("raw", it.arrays)
    ends = np.searchsorted(np.sort(raw), own * (1 + 1e-9), "right")
    highest = np.maximum(values, 100 * np.concatenate(([0], np.cumsum(np.sort(raw))))[ends])
    away = np.maximum(values - it.wanted["cumulative"], it.wanted["cumulative"] - highest)
    assert away.max() < 2
    assert np.mean(away < 0.21) > 0.98


@each_case
def test_training_reaches_maxents_gain_and_ranks_as_it_does(case):
    it, model = case_of(case), trained(case)
    program, ours = it.results["maxentResults"], explain(model)
    arrays = without_cumulative(model)

    assert model.training["statistics"]["backgroundPoints"] == program["#Background points"]
    assert ours["regularizedGain"] == pytest.approx(it.results["resulting_gain"], rel=0.005)
    assert ours["regularizedGain"] == pytest.approx(it.results["resulting_gain"], abs=0.003)
    assert ours["unregularizedGain"] == pytest.approx(program["Unregularized training gain"], abs=0.01)
    assert ours["trainingAuc"] == pytest.approx(program["Training AUC"], abs=0.002)
    assert ours["entropy"] == pytest.approx(program["Entropy"], abs=0.01)
    for output_format in ("raw", "logistic", "cloglog"):
        values = it.predicted(output_format, arrays)
        assert rank_correlation(values, it.wanted[output_format]) > 0.999, output_format
    assert np.abs(it.predicted("cloglog", arrays) - it.wanted["cloglog"]).mean() < 0.005
    assert np.abs(it.predicted("cumulative", model.arrays) - it.wanted["cumulative"]).mean() < 0.5


@each_case
def test_ranges_in_training_are_maxents(case):
    it, model = case_of(case), trained(case)
    continuous = it.arrays["categorical"] == 0

    assert np.array_equal(model.arrays["categorical"], it.arrays["categorical"])
    for name in ("lower", "upper"):
        assert np.array_equal(model.arrays[name][continuous], it.arrays[name][continuous])


@each_case
def test_lambdas_come_back_as_they_were(case):
    it = case_of(case)

    predictors, arrays = read_lambdas(lambdas_text(it.predictors, it.arrays, 900))

    assert predictors == it.predictors
    for name, array in it.arrays.items():
        if not name.startswith("feature_"):
            assert np.array_equal(arrays[name], array), name
    names = sorted(name for name in arrays if name.startswith("feature_"))
    assert sorted(zip(*(arrays[n] for n in names))) == sorted(zip(*(it.arrays[n] for n in names)))


def test_explanation_holds_the_model_in_maxents_form():
    for case in ("LQHPT_n100_cat", "auto_n12") if CASES else ():
        model = trained(case)
        predictors, arrays = read_lambdas("\n".join(explain(model)["lambdas"]))
        points = case_of(case).points.T

        assert predictors == model.predictors
        again = raw_values(arrays, points, False, True, lambda: None)
        assert again == pytest.approx(raw_values(model.arrays, points, False, True, lambda: None), rel=1e-9)


LINES = "a, 0.0, 1.0, 3.0\n'a, 2.0, 2.0, 3.0\n(2.5<a), 1.0, 0.0, 1.0\n"
CLOSING = "linearPredictorNormalizer, 3.0\ndensityNormalizer, 2.0\nnumBackgroundPoints, 4\nentropy, 1.2\n"


def test_raw_value_of_a_lambdas_model_by_hand():
    _, arrays = read_lambdas(LINES + CLOSING)

    raw = raw_values(arrays, np.array([[0.0, 2.5, 3.0, 9.0]]), True, True, lambda: None)

    # hinge 0, 1/2, 1, and 1 again; the threshold is passed above 2.5
    assert raw == pytest.approx(np.exp(np.array([0, 1, 3, 3]) - 3.0) / 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line linearPredictorNormalizer"),
        (LINES, "cut off"),
        ("a, x, 1.0, 3.0\n" + CLOSING, "Line 1"),
        ("a, nan, 1.0, 3.0\n" + CLOSING, "Line 1"),
        (LINES + "'b, 1.0, 0.0, 1.0\n" + CLOSING, "names no variable"),
        (LINES + "a*b, 1.0, 0.0, 1.0\n" + CLOSING, "names no variable"),
        (LINES + "(u<a), 1.0, 0.0, 1.0\n" + CLOSING, "names no variable"),
    ],
)
def test_text_that_is_no_model_is_refused(text, message):
    with pytest.raises(ModelFileError, match=message):
        read_lambdas(text)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, tied values sharing their mean rank."""
    ranks = []
    for values in (first, second):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    return float(np.corrcoef(*ranks)[0, 1])
