"""Support vector machines: libsvm's own results, and its rules by hand."""

from __future__ import annotations

import csv
import dataclasses
import json
import time

import numpy as np
import pytest
from rasterml.engine import svm
from rasterml.engine.classes import class_table
from rasterml.engine.errors import Canceled, ModelFileError, SettingError, TableError
from rasterml.engine.explanation import explain
from rasterml.engine.learners import BY_ID, CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, REGRESSION
from rasterml.engine.models import Model
from rasterml.engine.pairwise import class_probabilities, fit_sigmoid, pair_probabilities, pairs
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.svm import largest_nu
from rasterml.engine.svm_kernels import Kernel, decisions
from rasterml.engine.svm_machine import SvmPredictor, sure_winners, winners
from rasterml.engine.svm_products import Estimate, KernelProducts
from rasterml.engine.training import Samples, Table, collect, train
from small_models import defaults, make_samples

CASES = (
    "csvc_linear_iris",
    "csvc_linear_sat_scaled",
    "csvc_poly_iris_d3",
    "csvc_rbf_iris_noshrink_defaultgamma",
    "csvc_rbf_sat_probability",
    "csvc_rbf_sat_scaled",
    "csvc_rbf_sat_scaled_c10_g4",
    "csvc_rbf_sat_unscaled_g0.5",
    "csvc_sigmoid_iris_scaled",
    "epssvr_linear_meuse",
    "epssvr_poly_meuse",
    "epssvr_rbf_meuse_scaled",
    "nusvc_linear_iris_nu0.5",
    "nusvc_rbf_iris_nu0.3",
    "nusvr_rbf_meuse_scaled",
    "oneclass_linear_iris_class0",
    "oneclass_rbf_sat_class2",
)
OPTIONS = {"d": "degree", "g": "gamma", "r": "coef0", "c": "cost", "n": "nu", "p": "loss_epsilon"}


def nothing() -> None:
    pass


def samples_of(features, labels, mode: str = CLASSIFICATION) -> Samples:
    features = np.asarray(features, dtype=float)
    names = [f"b{number}" for number in range(1, features.shape[1] + 1)]
    return collect([Table("t", features, np.asarray(labels))], names, "class", mode)


def fit(features, labels, mode: str = CLASSIFICATION, **settings) -> Model:
    return train("trainsvm", samples_of(features, labels, mode), mode, settings)


def predicted(model: Model, features, mode: str = "") -> np.ndarray:
    return predict_rows(model, np.asarray(features, dtype=np.float32), mode)


def decided(model: Model, features) -> np.ndarray:
    """Return the decision values (decisions, rows) of any number of rows."""
    features = np.asarray(features, dtype=np.float32)
    kernel = Kernel.of(model.settings, len(model.predictors))
    return decisions(kernel, model.arrays, features.T.astype(np.float64), nothing)


def machine(intercepts, labels, order, sigmoids=None, **settings) -> Model:
    """A linear machine with weight 1 for the only predictor in every decision."""
    count = len(intercepts)
    arrays = {
        "support_counts": np.ones(len(labels), dtype=np.int32),
        "weight": np.ones((count, 1)),
        "intercept": np.array(intercepts, dtype=float),
        "label_order": np.array(order, dtype=np.int32),
        "sigmoid": np.array([(-1.0, 0.0)] * count if sigmoids is None else sigmoids),
    }
    model = Model(
        "trainsvm", CLASSIFICATION, defaults("trainsvm", **settings), ("b1",), class_table(labels), "class", arrays
    )
    SvmPredictor.check(model)
    return model


# libsvm itself


def read(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def columns(rows, names) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in rows])


def scaled(features: np.ndarray, scaling) -> np.ndarray:
    if scaling is None:
        return features
    low, high = scaling["to"]
    least, most = np.array(scaling["min"]), np.array(scaling["max"])
    return low + (high - low) * (features - least) / (most - least)


class Case:
    """One case of the oracle: our model fitted with its options, and libsvm's results."""

    def __init__(self, oracle, name: str) -> None:
        self.about = about = json.loads((oracle / "libsvm" / f"{name}.json").read_text())
        options = about["command"].split()[1:]
        settings = {"svm_type": about["svm_type"], "kernel_type": about["kernel"]}
        for option, value in zip(options[::2], options[1::2]):
            if option[1] in OPTIONS:
                settings[OPTIONS[option[1]]] = float(value)
            elif option == "-h":
                settings["shrinking"] = value != "0"
        training = read(oracle / about["train"])
        labels = columns(training, [about["target"]])[:, 0]
        if about["train_filter"]:  # "class==2": the class to learn becomes 0, all else 1
            labels = (labels != float(about["train_filter"].partition("==")[2])).astype(float)
        mode = REGRESSION if "SVR" in about["svm_type"] else CLASSIFICATION
        self.model = fit(scaled(columns(training, about["columns"]), about["scaling"]), labels, mode, **settings)
        self.features = scaled(columns(read(oracle / about["test"]), about["columns"]), about["scaling"])
        self.results = read(oracle / "libsvm" / f"{name}.csv")
        self.decisions = columns(self.results, [key for key in self.results[0] if key.startswith("dec")]).T
        self.predictions = columns(self.results, ["prediction"])[:, 0]


@pytest.mark.parametrize("name", CASES)
def test_decision_values_and_predictions_are_libsvms(name, shared):
    case = Case(shared / "oracle", name)
    ours, theirs = decided(case.model, case.features), case.decisions
    predictions = predicted(case.model, case.features)[0]

    assert case.model.arrays["support_counts"].sum() == case.about["n_sv"]
    if case.model.mode == REGRESSION:
        assert np.abs(ours - theirs).max() < 1e-3 * np.ptp(theirs)
        assert np.abs(predictions - case.predictions).max() < 1e-3 * np.ptp(theirs)
        return
    # Our predictors are float32, which sends the solver another way within its tolerance of 0.001; where the
    # predictors are whole numbers nothing is lost.
    assert np.abs(ours - theirs).max() < (1e-8 if "unscaled" in name else 2e-2)
    if case.model.settings["svm_type"] == "ONE_CLASS":
        assert predictions.tolist() == np.where(case.predictions == 1, 0, 1).tolist()
        return
    order = [case.model.classes[place].value for place in case.model.arrays["label_order"]]
    assert order == case.about["labels_order"]
    if "probability" not in name:  # there libsvm gives the most probable class
        assert predictions.tolist() == case.predictions.tolist()


def test_probabilities_are_libsvms_within_their_spread(shared):
    case = Case(shared / "oracle", "csvc_rbf_sat_probability")
    values = [item.value for item in case.model.classes]
    theirs = columns(case.results, [f"prob_{value}" for value in values]).T
    ours = predicted(case.model, case.features, MULTIPROBABILITY)

    # libsvm's folds are random; other seeds of ours differ from its run, and from each other, by as much
    assert (np.abs(ours - theirs) < 0.05).mean() > 0.99
    assert np.abs(ours - theirs).max() < 0.1
    assert np.abs(ours - theirs).mean() < 0.005
    assert ours.sum(axis=0) == pytest.approx(1, abs=1e-6)
    most_probable = np.array(values)[ours.argmax(axis=0)]
    assert (most_probable == case.predictions).mean() > 0.99
    assert predicted(case.model, case.features, PROBABILITY)[0] == pytest.approx(ours.max(axis=0))


def test_coupling_of_libsvms_own_sigmoids_gives_its_probabilities(shared):
    case = Case(shared / "oracle", "csvc_rbf_sat_probability")
    header = case.about["model_header"]
    sigmoids = np.array([[float(text) for text in header[key].split()] for key in ("probA", "probB")]).T
    theirs = columns(case.results, [f"prob_{label}" for label in case.about["labels_order"]]).T

    ours = class_probabilities(pair_probabilities(case.decisions, sigmoids), 6, nothing)

    assert np.abs(ours - theirs).max() < 1e-6  # the decision values have ten digits


# The rules, by hand


@pytest.mark.parametrize(("labels", "sign"), [((7, 3), 1), ((3, 7), -1)])
def test_decision_is_positive_for_the_class_that_comes_first_in_the_table(labels, sign):
    # The widest margin between 0 and 2 has its middle at 1 and its edges, where the value is ±1, at the samples.
    model = fit([[0.0], [2.0]], labels, cost=10)

    assert decided(model, [[0.0], [1.0], [2.0]])[0] == pytest.approx([1, 0, -1], abs=1e-3)
    assert predicted(model, [[0.0], [2.0]]).tolist() == [list(labels)]
    assert [model.classes[place].value for place in model.arrays["label_order"]] == list(labels)


def test_vote_of_a_tie_goes_to_the_first_in_label_order():
    # Class 9 beats 1, 1 beats 5, 5 beats 9: one vote each.
    model = machine([1, -1, 1], labels=(1, 5, 9), order=(2, 0, 1))

    assert predicted(model, [[0.0]]).tolist() == [[9]]


def test_margin_adds_up_decision_values_where_voting_counts_them():
    # Pairs (a, b), (a, c), (b, c): a wins twice, hardly; b wins once, by far: -0.1 + 5 against 0.1 + 0.1.
    values = [0.1, 0.1, 5]
    order, labels = (1, 0, 2), (0, 7, 300)

    assert predicted(machine(values, labels, order), [[0.0]]).tolist() == [[7]]
    assert predicted(machine(values, labels, order, decision_procedure="Margin"), [[0.0]]).tolist() == [[0]]


def test_a_decision_of_zero_is_for_the_second_class():
    assert winners(np.array([[0.0], [0.0], [0.0]]), 3, "Voting").tolist() == [2]


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"kernel_type": "POLY"}, (0.5 * 1.5 + 0) ** 3),  # gamma 1 / 2, coef0 0, degree 3
        ({"kernel_type": "POLY", "degree": 2, "gamma": 2.0, "coef0": 1.0}, (2 * 1.5 + 1) ** 2),
        ({"kernel_type": "RBF"}, np.exp(-0.5 * 3.25)),
        ({"kernel_type": "RBF", "gamma": 0.1}, np.exp(-0.1 * 3.25)),
        ({"kernel_type": "SIGMOID"}, np.tanh(0.5 * 1.5)),
        ({"kernel_type": "SIGMOID", "gamma": 0.2, "coef0": -1.0}, np.tanh(0.2 * 1.5 - 1)),
    ],
    ids=str,
)
def test_kernels_and_their_defaults(settings, value):
    # u·v = 1 · 2 - 0.5 · 1 = 1.5, ‖u - v‖² = 1 + 2.25 = 3.25
    vector, pixel = np.array([[1.0, 0.5]], dtype=np.float32), np.array([[2.0, -1.0]])
    arrays = {
        "support_counts": np.array([1], dtype=np.int32),
        "support_vector": vector,
        "coefficient": np.array([[3.0]]),
        "intercept": np.array([0.25]),
    }
    kernel = Kernel.of(defaults("trainsvm", **settings), 2)

    assert decisions(kernel, arrays, pixel.T, nothing)[0] == pytest.approx(3 * value + 0.25)


def test_linear_machine_is_kept_as_weights():
    model = fit([[0.0, 5.0], [2.0, 5.0]], [0, 1], cost=10)

    assert model.arrays["weight"] == pytest.approx(np.array([[-1.0, 0.0]]), abs=1e-3)
    assert "support_vector" not in model.arrays


@pytest.mark.parametrize(("one_class", "row"), [(None, 0), (0, 0), (1, 1)])
def test_one_class_machine_calls_its_class_inside_and_the_other_outside(one_class, row):
    generator = np.random.default_rng(0)
    clouds = [generator.normal(centre, 0.5, (40, 2)) for centre in (0, 10)]
    settings = {"svm_type": "ONE_CLASS", "kernel_type": "RBF", "nu": 0.1, "gamma": 0.5, "one_class": one_class}
    model = fit(np.concatenate(clouds), np.repeat([0, 1], 40), **settings)

    outside = 1 - row  # also what is far from both
    assert predicted(model, [[0, 0], [10, 10], [5, 5]])[0].tolist() == [0, 1, outside]
    assert model.output_modes == (CLASSIFICATION,)
    # nu bounds the share of the learned class that stays outside
    learned = clouds[row]
    assert (predicted(model, learned)[0] == row).mean() >= 0.85


def test_regression_without_errors_beyond_the_tube_needs_no_support_vector():
    # A tube of half width 3 holds all targets: the flattest function is their middle.
    model = fit([[0.0], [1.0], [2.0]], [-1.0, 4.0, 1.0], REGRESSION, svm_type="EPSILON_SVR", loss_epsilon=3)

    assert model.arrays["support_counts"].tolist() == [0]
    assert predicted(model, [[-5.0], [5.0]])[0] == pytest.approx([1.5, 1.5], abs=1)
    assert model.output_modes == (REGRESSION,)


def test_tube_is_touched_at_both_ends():
    # The flattest line within 0.5 of (0, 0) and (2, 4) goes from 0.5 to 3.5.
    model = fit([[0.0], [2.0]], [0.0, 4.0], REGRESSION, svm_type="EPSILON_SVR", loss_epsilon=0.5, cost=100)

    assert predicted(model, [[0.0], [1.0], [2.0]])[0] == pytest.approx([0.5, 2, 3.5], abs=1e-2)


def test_tolerance_of_the_solver_bounds_its_error():
    samples = make_samples()
    exact = train("trainsvm", samples, CLASSIFICATION, {"kernel_type": "RBF", "termination_epsilon": 1e-7})
    features = samples.features[:64]
    errors = {}
    for tolerance in (1e-4, None, 0.5):
        settings = {"kernel_type": "RBF", "termination_epsilon": tolerance}
        model = train("trainsvm", samples, CLASSIFICATION, settings)
        errors[tolerance] = np.abs(decided(model, features) - decided(exact, features)).max()

    assert errors[1e-4] < errors[None] < 0.01 < errors[0.5]


def test_shrinking_does_not_change_the_solution():
    samples = make_samples()
    models = [
        train("trainsvm", samples, CLASSIFICATION, {"kernel_type": "RBF", "gamma": 1e-3, "shrinking": value})
        for value in (True, False)
    ]

    values = [decided(model, samples.features) for model in models]

    assert np.abs(values[0] - values[1]).max() < 0.01


# Probabilities


def test_probabilities_that_agree_with_each_other_are_found_by_coupling():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    i, j = pairs(4)
    first = shares[i] / (shares[i] + shares[j])

    coupled = class_probabilities(np.repeat(first[:, np.newaxis], 64, axis=1), 4, nothing)

    assert coupled == pytest.approx(np.repeat(shares[:, np.newaxis], 64, axis=1), abs=0.01)  # the paper's stop
    assert coupled.sum(axis=0) == pytest.approx(1)


@pytest.mark.parametrize("separate", [0.3, 3.0, 50.0])
def test_sigmoid_is_the_most_likely_one(separate):
    optimize = pytest.importorskip("scipy.optimize")
    generator = np.random.default_rng(4)
    first = np.arange(60) < 20
    values = np.where(first, separate, -separate) + generator.normal(size=60)
    target = np.where(first, 21 / 22, 1 / 42)

    def loss(point):
        exponents = point[0] * values + point[1]
        return (target * np.logaddexp(0, exponents) + (1 - target) * np.logaddexp(0, -exponents)).sum()

    slope, offset = fit_sigmoid(values, first)

    assert loss((slope, offset)) <= optimize.minimize(loss, (0.0, 0.0)).fun + 1e-6
    assert slope < 0


def test_probability_of_two_classes_is_that_of_the_larger_label():
    # 9 comes first; its value is the pixel's, P(9) = 1 / (1 + exp(-2 · 0.5))
    model = machine([0.0], labels=(4, 9), order=(1, 0), sigmoids=[(-2.0, 0.0)])
    expected = 1 / (1 + np.exp(-1))

    assert predicted(model, [[0.5]], PROBABILITY)[0, 0] == pytest.approx(expected)
    assert predicted(model, [[0.5]], MULTIPROBABILITY)[:, 0] == pytest.approx([1 - expected, expected])
    assert [item.name for item in model.classes] == list(SvmPredictor(model).bands(MULTIPROBABILITY))


def test_multiprobability_has_ascending_classes_whatever_the_label_order():
    model = machine([3, 4, 5], labels=(1, 5, 9), order=(2, 0, 1))  # 9 beats 1 and 5, 1 beats 5

    first, second, third = predicted(model, [[0.0]], MULTIPROBABILITY)[:, 0]

    assert third > first > second


def test_a_class_that_a_fold_lacks_counts_as_lost():
    # The only sample of class 0 is held out once: libsvm's value is then -1, for the class that is there.  The four
    # of class 7 have -1, too, being at the edge of the margin.  Five equal values: the sigmoid there is the mean of
    # the targets, (1 + 1) / (1 + 2) and four times 1 / (4 + 2).
    model = fit([[0.0]] + [[2.0]] * 4, [0, 7, 7, 7, 7], cost=100)

    assert predicted(model, [[2.0]], MULTIPROBABILITY)[:, 0] == pytest.approx([4 / 15, 11 / 15], abs=1e-3)


# Difficult tables


def test_tiny_classes_get_probabilities():
    generator = np.random.default_rng(1)
    counts = {0: 30, 3: 1, 7: 2, 20: 1, 300: 4}
    labels = np.concatenate([[label] * count for label, count in counts.items()])
    features = generator.normal(size=(labels.size, 2)) + labels[:, np.newaxis] % 10

    for svm_type in ("C_SVC", "NU_SVC"):
        model = fit(features, labels, svm_type=svm_type, nu=0.01, kernel_type="RBF")
        probabilities = predicted(model, features, MULTIPROBABILITY)
        assert probabilities.shape == (5, labels.size)
        assert probabilities.sum(axis=0) == pytest.approx(1, abs=1e-5)


def test_every_row_may_have_its_own_class():
    features = np.arange(12.0)[:, np.newaxis]

    model = fit(features, np.arange(12) * 3, cost=100)

    assert predicted(model, features)[0].tolist() == (np.arange(12) * 3).tolist()
    assert predicted(model, features, MULTIPROBABILITY).sum(axis=0) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_constant_predictors_and_duplicate_rows_do_no_harm(kernel):
    features = np.array([[0.0, 5, 0.1], [1, 5, 0.1], [0, 5, 0.1], [1, 5, 0.1]] * 5)
    features[:, 2] = 0

    model = fit(features, ["pond", "wood"] * 10, kernel_type=kernel, gamma=1.0, cost=10)

    if kernel != "SIGMOID":  # tanh(25) is 1: saturated, as libsvm has it
        assert predicted(model, features)[0].tolist() == [0, 1] * 10
    assert np.isfinite(predicted(model, features, PROBABILITY)).all()
    assert [item.name for item in model.classes] == ["pond", "wood"]


def test_a_table_that_says_nothing_is_refused_or_predicted():
    same = np.ones((20, 2))
    labels = [0, 7] * 10

    assert set(predicted(fit(same, labels), same)[0]) <= {0, 7}
    with pytest.raises(TableError, match="NU_SVC with the LINEAR kernel has no finite solution"):
        fit(same, labels, svm_type="NU_SVC")


def test_one_class_only_is_an_error():
    with pytest.raises(TableError, match="Only one class"):
        fit([[0.0], [1.0]], [7, 7])


# Settings that do not go together


@pytest.mark.parametrize(
    ("settings", "mode", "sentence"),
    [
        ({}, REGRESSION, "SVM_TYPE C_SVC is not for MODE REGRESSION: choose EPSILON_SVR or NU_SVR."),
        ({"svm_type": "ONE_CLASS"}, REGRESSION, "ONE_CLASS is not for MODE REGRESSION"),
        ({"svm_type": "NU_SVR"}, CLASSIFICATION, "not for MODE CLASSIFICATION: choose C_SVC or NU_SVC or ONE_CLASS."),
        ({"svm_type": "ONE_CLASS"}, CLASSIFICATION, "needs samples of the classes 0 and 1, but class has 0, 7, 300"),
        ({"svm_type": "NU_SVC", "nu": 0.999}, CLASSIFICATION, "NU is 0.999, but with"),
        ({"cost": 0}, CLASSIFICATION, "COST is 0: it must be at least"),
        ({"gamma": -1}, CLASSIFICATION, "GAMMA is -1"),
        ({"degree": 2.5}, CLASSIFICATION, "DEGREE is 2.5"),
        ({"nu": 1.5}, CLASSIFICATION, "NU is 1.5: it must be at most 1"),
        ({"loss_epsilon": -0.1}, CLASSIFICATION, "LOSS_EPSILON is -0.1"),
        ({"termination_epsilon": 0}, CLASSIFICATION, "TERMINATION_EPSILON is 0"),
        ({"one_class": 2}, CLASSIFICATION, "ONE_CLASS is 2: it must be at most 1"),
        ({"kernel_type": "rbf"}, CLASSIFICATION, "KERNEL_TYPE is 'rbf': choose one of LINEAR, POLY, RBF, SIGMOID"),
        ({"decision_procedure": "Vote"}, CLASSIFICATION, "choose one of Voting, Margin"),
        ({"shrinking": 3}, CLASSIFICATION, "SHRINKING is 3"),
    ],
)
def test_impossible_settings_are_one_sentence(settings, mode, sentence):
    with pytest.raises(SettingError) as caught:
        train("trainsvm", make_samples(mode), mode, settings)

    assert sentence in str(caught.value)


def test_largest_nu_is_that_of_the_most_unequal_pair():
    # libsvm asks for nu (n1 + n2) / 2 <= min(n1, n2): pairs 20 : 80, 20 : 50, 80 : 50
    assert largest_nu(np.array([20, 80, 50])) == pytest.approx(0.4)


def test_settings_are_earth_engines():
    assert list(BY_ID["trainsvm"].checked({}).items()) == [
        ("decision_procedure", "Voting"),
        ("svm_type", "C_SVC"),
        ("kernel_type", "LINEAR"),
        ("shrinking", True),
        *[(name, None) for name in ("degree", "gamma", "coef0", "cost", "nu")],
        *[(name, None) for name in ("termination_epsilon", "loss_epsilon", "one_class")],
    ]


@pytest.mark.filterwarnings("ignore:Solver terminated early")
def test_solver_at_its_limit_of_iterations_is_warned_of(monkeypatch):
    class Listener(Progress):
        warnings: list[str] = []

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    monkeypatch.setattr(svm, "SMALLEST_ITERATION_LIMIT", 0)  # 100 iterations a sample remain
    generator = np.random.default_rng(0)
    samples = samples_of(generator.normal(size=(40, 3)) * 1000, generator.integers(0, 2, 40).astype(float))

    train("trainsvm", samples, CLASSIFICATION, {"cost": 1e6}, progress=Listener())

    assert any("limit of iterations" in text for text in Listener.warnings)


# Promises


@pytest.mark.parametrize("predictors", [1, 3, 101])
@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_a_pixel_has_the_same_bits_wherever_it_stands(predictors, kernel):
    """A matrix product would not do: with OpenBLAS on AVX-512 equal rows of one block can differ."""
    generator = np.random.default_rng(3)
    features = generator.normal(size=(301, predictors))
    labels = np.digitize(features[:, 0], [-0.5, 0.5]) * 7.0
    model = fit(features, labels, kernel_type=kernel, gamma=0.1)
    pixel = generator.normal(size=(1, predictors)).astype(np.float32)
    crowd = generator.normal(size=(9001, predictors)).astype(np.float32)
    crowd[::7] = pixel

    for mode in (MULTIPROBABILITY, PROBABILITY):
        alone = predicted(model, pixel, mode)
        for rows in (9001, 4097, 1023, 65, 8, 1):
            together = predicted(model, crowd[:rows], mode)[:, ::7]
            assert (together == alone).all(), (mode, rows)


def test_memory_of_a_prediction_is_bounded(peak_memory):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 30))
    model = fit(features, generator.integers(0, 4, 400).astype(float), kernel_type="RBF")
    pixels = generator.normal(size=(65_536, 30)).astype(np.float32)
    predictor = SvmPredictor(model)

    peak = peak_memory(predictor.predict, pixels, CLASSIFICATION, nothing)

    assert len(model.arrays["support_vector"]) > 300  # the whole kernel matrix would have 160 MB
    assert peak < 8 * 2**20


def test_prediction_asks_often_whether_to_go_on():
    model = fit(np.random.default_rng(0).normal(size=(300, 3)), [0, 7] * 150, kernel_type="RBF")

    def stop() -> None:
        raise Canceled()

    with pytest.raises(Canceled):
        SvmPredictor(model).predict(np.zeros((10, 3), dtype=np.float32), CLASSIFICATION, stop)


def test_cancel_during_a_long_fit_ends_at_once():
    class Impatient(Progress):
        def __init__(self) -> None:
            self.started = time.monotonic()

        def is_canceled(self) -> bool:
            return time.monotonic() - self.started > 0.5

    generator = np.random.default_rng(0)
    samples = samples_of(generator.normal(size=(6000, 4)), generator.integers(0, 2, 6000).astype(float))
    progress = Impatient()

    with pytest.raises(Canceled):
        train("trainsvm", samples, CLASSIFICATION, {"kernel_type": "RBF", "cost": 30}, 1, progress)

    assert time.monotonic() - progress.started < 1.5


def test_explanation_tells_support_vectors_and_rho():
    model = fit([[0.0], [2.0]], [7, 3], cost=10)

    explanation = explain(model)

    assert explanation["numberOfSupportVectorsPerClass"] == {"3": 1, "7": 1}
    assert explanation["labelOrder"] == [7, 3]
    assert explanation["pairs"] == [[7, 3]]
    assert explanation["rho"] == pytest.approx([-1], abs=1e-3)  # decision = -x - rho
    assert explanation["kernel"] == {"type": "LINEAR"}
    assert explanation["weights"][0]["b1"] == pytest.approx(-1, abs=1e-3)

    poly = explain(fit([[0.0, 1.0], [2.0, 1.0]], [7, 3], kernel_type="POLY", degree=2))
    assert poly["kernel"] == {"type": "POLY", "degree": 2, "gamma": 0.5, "coef0": 0.0}


# Matrix products and their bounds


class Unsettled:
    """Stands for products that never settle anything: all decisions are computed element by element."""

    def decisions(self, rows, check) -> Estimate:
        values = np.zeros((self.pairs, rows.shape[1]))
        return Estimate(values, np.full_like(values, np.inf))

    def __init__(self, model: Model) -> None:
        self.pairs = model.arrays["intercept"].size


def element_wise(model: Model, rows, mode: str) -> np.ndarray:
    predictor = SvmPredictor(model)
    predictor.coarse, predictor.fine = None, Unsettled(model)
    return predictor.predict(np.asarray(rows, dtype=np.float32), mode, nothing)


def three_classes(kernel: str, offset: float = 0.0, mode: str = CLASSIFICATION, **settings) -> tuple[Model, np.ndarray]:
    """Return a machine and rows that are difficult for it: its vectors, points between them, one far away, a grid."""
    generator = np.random.default_rng(5)
    features = (generator.normal(size=(240, 3)) * 2).round(1)
    labels = np.digitize(features[:, 0] + generator.normal(size=240) / 2, [-1, 1]) * 7.0
    settings = {"gamma": 0.3, "coef0": 0.5, "kernel_type": kernel, **settings}
    model = fit(features + offset, labels, mode, **settings)
    halfway = (features[:-1] + features[1:]) / 2
    grid = np.stack(np.meshgrid(*[np.linspace(-4, 4, 9)] * 3)).reshape(3, -1).T
    far = [[1e5, 0, 0], [3e38, -3e38, 3e38], [0, 1e-40, 0]]
    return model, (np.concatenate([features, halfway, grid, far]) + offset).astype(np.float32)


KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid", "ignore:Solver terminated early")
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_products_are_within_their_bounds_of_the_element_wise_values(kernel, offset):
    model, rows = three_classes(kernel, offset)
    predictor = SvmPredictor(model)
    columns = rows.T.astype(np.float64)
    exact = decisions(predictor.kernel, model.arrays, columns, nothing)
    machines = [predictor.fine]
    if kernel != "LINEAR":
        machines.append(KernelProducts(predictor.kernel, model.arrays, np.float32))

    for products in machines:
        values, bounds = products.decisions(columns, nothing)
        bounded = np.isfinite(bounds)
        assert (np.abs(values - exact)[bounded] <= bounds[bounded]).all()
        assert bounded.mean() > 0.9
    _, bounds = predictor.fine.decisions(columns[:, :240], nothing)
    if offset == 0:
        assert np.median(bounds) < 1e-9 * (1 + np.abs(exact[:, :240]).max())  # of use


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid", "ignore:Solver terminated early")
@pytest.mark.parametrize("settings", [{}, {"decision_procedure": "Margin"}, {"cost": 1000.0}], ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_outputs_are_those_of_the_element_wise_decisions_bit_for_bit(kernel, settings):
    model, rows = three_classes(kernel, **settings)

    for mode in (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY):
        assert predicted(model, rows, mode).tobytes() == element_wise(model, rows, mode).tobytes()


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("kernel", KERNELS)
def test_regression_is_that_of_the_element_wise_decisions_bit_for_bit(kernel):
    model, rows = three_classes(kernel, mode=REGRESSION, svm_type="EPSILON_SVR")

    assert predicted(model, rows).tobytes() == element_wise(model, rows, REGRESSION).tobytes()


def mirrored(kernel: str, **settings) -> Model:
    """Two classes whose vectors mirror each other: all decisions are 0 where the first predictor is."""
    vectors = np.random.default_rng(8).normal(size=(300, 2)).astype(np.float32)
    arrays = {
        "support_counts": np.array([300, 300], dtype=np.int32),
        "support_vector": np.concatenate([vectors, vectors * np.float32([-1, 1])]),
        "coefficient": np.repeat([1.0, -1.0], 300)[:, np.newaxis],
        "intercept": np.zeros(1),
        "label_order": np.array([1, 0], dtype=np.int32),
        "sigmoid": np.array([[-2.0, 0.0]]),
    }
    values = defaults("trainsvm", kernel_type=kernel, **settings)
    model = Model("trainsvm", CLASSIFICATION, values, ("b1", "b2"), class_table((0, 7)), "class", arrays)
    SvmPredictor.check(model)
    return model


@pytest.mark.parametrize("kernel", ["POLY", "RBF", "SIGMOID"])
def test_boundary_between_mirrored_classes_is_the_element_wise_one(kernel):
    model = mirrored(kernel)
    second = np.linspace(-3, 3, 700)
    rows = np.concatenate([np.column_stack([np.full(700, first), second]) for first in (0, 1e-30, -1e-9, 1e-3)])

    for mode in (CLASSIFICATION, PROBABILITY):
        assert predicted(model, rows, mode).tobytes() == element_wise(model, rows, mode).tobytes()


def test_boundary_of_a_linear_machine_is_for_the_second_class():
    model = machine([-0.5], labels=(0, 7), order=(1, 0))

    rows = np.float32(
        [[0.5], [np.nextafter(np.float32(0.5), np.float32(1))], [np.nextafter(np.float32(0.5), np.float32(0))]]
    )
    assert predicted(model, rows)[0].tolist() == [0, 7, 0]


def test_one_class_boundary_is_the_element_wise_one():
    generator = np.random.default_rng(2)
    features = generator.normal(size=(200, 2)).round(1)
    labels = (np.arange(200) < 20).astype(float)
    settings = {"svm_type": "ONE_CLASS", "kernel_type": "RBF", "nu": 0.3}
    model = fit(features, labels, **settings)

    # unbounded support vectors lie on the boundary
    rows = np.concatenate([model.arrays["support_vector"], features])
    assert predicted(model, rows).tolist() == element_wise(model, rows, CLASSIFICATION).tolist()


@pytest.mark.parametrize("kernel", KERNELS)
def test_order_and_batches_of_rows_change_no_bit(kernel):
    model, rows = three_classes(kernel)
    generator = np.random.default_rng(9)
    rows = np.tile(rows[:-3], (4, 1))
    for mode in (CLASSIFICATION, MULTIPROBABILITY):
        whole = predicted(model, rows, mode)
        for _ in range(3):
            order = generator.permutation(len(rows))
            cuts = np.sort(generator.integers(0, len(rows), 5))
            parts = [predicted(model, part, mode) for part in np.split(rows[order], cuts) if len(part)]
            assert np.concatenate(parts, axis=1).tobytes() == whole[:, order].tobytes()


def test_sure_winners_are_those_that_no_value_within_the_bounds_dethrones():
    def sure(values, bounds, procedure):
        estimate = Estimate(np.array([values]).T, np.array([bounds]).T)
        return bool(sure_winners(estimate, 3, procedure)[0])

    # pairs (a, b), (a, c), (b, c)
    assert sure([3.0, 1.0, 0.1], [0.2, 0.2, 0.2], "Voting")  # a wins both, whoever is second
    assert not sure([3.0, 0.1, 1.0], [0.2, 0.2, 0.2], "Voting")  # c may beat a: one vote each
    assert sure([1.0, -1.0, 1.0], [0.2, 0.2, 0.2], "Voting")  # a tie, but a sure one
    assert not sure([1.0, -1.0, 1.0], [0.2, np.nan, 0.2], "Voting")
    # sums: a 0.3, b 0.1, c -0.4
    assert sure([0.1, 0.2, 0.2], [0.01, 0.01, 0.01], "Margin")
    assert not sure([0.1, 0.2, 0.2], [0.06, 0.06, 0.06], "Margin")
    assert not sure([0.0, 0.0, 0.0], [np.inf, 0.0, 0.0], "Margin")


# Hostile files


def changed(model: Model, **arrays) -> Model:
    kept = {name: array for name, array in {**model.arrays, **arrays}.items() if array is not None}
    return dataclasses.replace(model, arrays=kept)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("support_vector", lambda array: array[:-1]),
        ("support_vector", lambda array: array[:, :-1]),
        ("support_vector", lambda array: array.astype(np.float64)),
        ("support_vector", lambda array: np.float32(1) + np.zeros((), dtype=np.float32)),
        ("support_vector", lambda array: array * np.float32(np.inf)),
        ("support_vector", lambda array: None),
        ("coefficient", lambda array: array[:, :-1]),
        ("coefficient", lambda array: array * np.nan),
        ("intercept", lambda array: array[:-1]),
        ("support_counts", lambda array: array + np.int32(1)),
        ("support_counts", lambda array: array * np.array([-1, 1, 1], dtype=np.int32)),
        ("label_order", lambda array: array * 0),
        ("label_order", lambda array: array + np.int32(1)),
        ("sigmoid", lambda array: array.T),
        ("weight", lambda array: np.zeros((3, 3))),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(name, change):
    model = train("trainsvm", make_samples(), CLASSIFICATION, {"kernel_type": "RBF"})
    SvmPredictor.check(model)

    with pytest.raises(ModelFileError):
        SvmPredictor.check(changed(model, **{name: change(model.arrays.get(name))}))


def test_type_and_mode_that_do_not_fit_are_refused():
    model = train("trainsvm", make_samples(), CLASSIFICATION, {"kernel_type": "RBF"})
    for settings in ({"svm_type": "NU_SVR"}, {"svm_type": "ONE_CLASS"}, {"kernel_type": "LINEAR"}):
        with pytest.raises(ModelFileError):
            SvmPredictor.check(dataclasses.replace(model, settings={**model.settings, **settings}))
