"""Text -> trees: handmade strings, R's own print, Earth Engine's text, and our text for random trees."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from rasterml.engine.classes import class_table
from rasterml.engine.decision_tree import DecisionTreePredictor, explain_trees, tree_model
from rasterml.engine.errors import ModelFileError, TableError
from rasterml.engine.explanation import explain
from rasterml.engine.forest import forest_arrays
from rasterml.engine.learners import CLASSIFICATION, RAW, RAW_REGRESSION, REGRESSION
from rasterml.engine.models import Model, load_model, save_model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.tree_arrays import forest_shapes
from rasterml.engine.tree_reader import read_trees, tree_strings
from rasterml.engine.tree_text import HEADER, bare_text, classification_text, regression_text
from rasterml.engine.trees import Shape
from small_models import defaults, small_forest

SIMPLE = "1) root 9 9 0\n2) a<=1.5 9 9 4 *\n3) a>1.5 9 9 7 *\n"


def predicted(text: str, rows, mode: str = CLASSIFICATION, output_mode: str = "") -> list:
    """Predict *rows*, dictionaries of predictors; return (trees, rows) in the RAW modes, else (rows,)."""
    model = tree_model(read_trees(text), mode)
    DecisionTreePredictor.check(model)
    features = np.array([[row[name] for name in model.predictors] for row in rows], dtype=np.float32)
    values = predict_rows(model, features.reshape(len(rows), -1), output_mode)
    return values.tolist() if output_mode else values[0].tolist()


@pytest.mark.parametrize(
    ("left", "right", "classes"),
    [
        ("a<=1.5", "a>1.5", [4, 4, 7]),
        ("a< 1.5", "a>=1.5", [4, 7, 7]),
        ("a>1.5", "a<=1.5", [7, 7, 4]),
        ("a >= 1.5", "a < 1.5", [7, 4, 4]),
    ],
)
def test_each_operator_keeps_its_meaning_on_either_side(left, right, classes):
    text = f"1) root 9 9 0\n2) {left} 9 9 4 *\n3) {right} 9 9 7 *"

    assert predicted(text, [{"a": 1}, {"a": 1.5}, {"a": 2}]) == classes


@pytest.mark.parametrize("threshold", ["0.1", "-0.1", "1e-05", "0", "16777217", "0.30000001192092896", "-1e300"])
@pytest.mark.parametrize("operator", ["<=", "<", ">", ">="])
def test_values_around_a_threshold_fall_where_the_text_says(threshold, operator):
    """The number in the text as single precision, or itself when it has more digits than that."""
    number = float(threshold) if threshold in ("16777217", "-1e300") else float(np.float32(threshold))
    opposite = {"<=": ">", ">": "<=", "<": ">=", ">=": "<"}[operator]
    middle = np.float32(max(number, -3e38))
    values = np.array([np.nextafter(middle, np.float32(-1e38)), middle, np.nextafter(middle, np.float32(1e38))])
    exact = values.astype(float)  # numpy would round the number to single precision
    meaning = {"<=": exact <= number, "<": exact < number, ">": exact > number, ">=": exact >= number}[operator]

    text = f"1) root 9 9 0\n2) a{operator}{threshold} 9 9 1 *\n3) a{opposite}{threshold} 9 9 0 *"

    assert predicted(text, [{"a": value} for value in values]) == meaning.astype(int).tolist()


def test_several_trees_vote_and_the_lowest_of_equal_classes_wins():
    text = SIMPLE + "1) root 9 9 5 *\n" + "n= 3\n" + SIMPLE.replace("a", "b").replace(" 7 ", " -2 ")

    rows = [{"a": 1, "b": 1}, {"a": 2, "b": 2}]
    assert predicted(text, rows, CLASSIFICATION, RAW) == [[4, 7], [5, 5], [4, -2]]
    assert predicted(text, rows) == [4, -2]
    assert predicted(text, rows, REGRESSION, RAW_REGRESSION) == [[4, 7], [5, 5], [4, -2]]
    assert predicted(text, rows, REGRESSION) == pytest.approx([13 / 3, 10 / 3])


def test_predictors_come_in_the_order_of_the_text():
    text = (
        "1) root 9 9 0\n2) z>1 9 9 0\n4) y<2 9 9 1 *\n5) y>=2 9 9 2 *\n3) z<=1 9 9 0\n6) x<2 9 9 1 *\n7) x>=2 9 9 2 *"
    )

    assert read_trees(text).predictors == ("z", "y", "x")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([SIMPLE, SIMPLE]),
        json.dumps({"classes": [4, 7], "trees": [SIMPLE, SIMPLE]}),
        json.dumps({"tree": SIMPLE + SIMPLE}),
        "system:index,tree,.geo\n0,{0},\n1,{0},\n".replace("{0}", SIMPLE.strip().replace("\n", "#")),
        '"tree"\n"{0}"\n"{0}"\n'.replace("{0}", SIMPLE.strip().replace("\n", "#")),
        (SIMPLE + SIMPLE).replace("\n", "\\n"),
        (SIMPLE + SIMPLE).replace("\n", "\r\n"),
        f"Some words before.\n\n{SIMPLE}\nn= 9\n{HEADER}{SIMPLE}",
    ],
    ids=["json", "explanation", "cart", "geemap", "quoted", "copied", "windows", "headers"],
)
def test_every_form_is_read(text):
    assert predicted(text, [{"a": 1}, {"a": 2}], CLASSIFICATION, RAW) == [[4, 7], [4, 7]]


def test_cells_longer_than_pythons_limit_are_read():
    tree = SIMPLE.strip().replace("\n", "#") + " " * 200_000

    assert len(tree_strings(f"tree\n{tree}\n")[0]) > 200_000
    assert csv.field_size_limit() == 131_072  # everyone's: put back


ERRORS = {
    "no tree": ("n= 3\nnothing", "There is no tree in the text"),
    "drawing": ("digraph RegressionTree {\n}", "line 1 begins a Graphviz drawing"),
    "half a split": ("1) root 9 9 0\n2) a<=1 9 9 4 *", "Error parsing line 1: expected 3"),
    "split without children": (SIMPLE.replace(" *\n3", "\n3"), "Error parsing line 2: expected 4"),
    "lost node": (SIMPLE + "9) a>7 9 9 1 *", "line 4 node 9 hangs on no split: node 4 is missing"),
    "child of a leaf": (SIMPLE + "4) a>7 9 9 1 *", "node 2 is a leaf"),
    "no root": ("2) a<=1 9 9 4 *\n3) a>1 9 9 5 *", "line 1 begins a tree without node 1"),
    "category": (SIMPLE.replace("a<=1.5", "soil=a,b"), "node 2 splits by categories"),
    "class without a number": (SIMPLE.replace(" 7 *", " water *"), "line 3 node 3 has 'water'"),
    "threshold without a number": (SIMPLE.replace("<=1.5", "<=1,5"), "line 2 node 2 has '1,5'"),
    "infinite value": (SIMPLE.replace(" 7 *", " 1e999 *"), "line 3 node 3 has '1e999'"),
    "missing numbers": (SIMPLE.replace(" 9 9 7 *", " 7 *"), "line 3 node 3 cannot be read"),
    "no condition": (SIMPLE.replace("a<=1.5", "root"), "node 2 has no condition"),
    "other line": (SIMPLE + "and so on", "line 4 is no node"),
    "no json": ("[1) root", "looks like JSON but is none"),
    "json without trees": ('{"classes": [1]}', "holds no trees"),
    "second text": (json.dumps([SIMPLE, "1) root 1 2 3"]), "Error parsing text 2, line 1: expected 2"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error_names_line_node_and_way_out(case):
    text, said = ERRORS[case]
    with pytest.raises(TableError) as raised:
        read_trees(text)

    assert said in str(raised.value)


@pytest.mark.parametrize("value", ["1.5", "-2147483648", "2147483648"])
def test_value_that_is_no_class_asks_for_regression(value):
    read = read_trees(SIMPLE.replace(" 7 *", f" {value} *"))

    with pytest.raises(TableError, match="choose MODE=REGRESSION"):
        tree_model(read, CLASSIFICATION)
    assert tree_model(read, REGRESSION).arrays["leaf_value"].tolist() == [4, float(value)]


def test_order_that_earth_engine_refuses_is_read_with_a_note():
    one, two, three = SIMPLE.splitlines()

    read = read_trees("\n".join((one, three, two)))

    assert "Earth Engine would refuse 1 of the trees" in read.notes[0]
    assert "Error parsing line 2: expected 2, got 3." in read.notes[0]
    assert read_trees(SIMPLE).notes == []


def test_branches_that_do_not_complement_each_other_are_noted():
    assert "nodes 2 and 3 below line 1" in read_trees(SIMPLE.replace("a>1.5", "a>1.7")).notes[0]


def test_node_numbers_beyond_64_bits_are_read():
    chain, number = ["1) root 9 9 0"], 1
    for depth in range(70):
        end = " *" if depth == 69 else ""
        chain += [f"{2 * number}) a<={depth} 9 9 {depth} *", f"{2 * number + 1}) a>{depth} 9 9 99{end}"]
        number = 2 * number + 1

    assert predicted("\n".join(chain), [{"a": 68.5}, {"a": 70}]) == [69, 99]


def test_root_alone_needs_no_predictor(tmp_path):
    model = tree_model(read_trees("1) root 120 80 2 *"), CLASSIFICATION)
    save_model(model, tmp_path / "m.rasterml")

    loaded = load_model(tmp_path / "m.rasterml")

    assert loaded.predictors == ()
    assert predict_rows(loaded, np.zeros((3, 0), np.float32))[0].tolist() == [2, 2, 2]


def test_explanation_gives_the_trees_back():
    model = tree_model(read_trees(SIMPLE.replace("1.5", "0.1") + "1) root 2 2 5 *"), CLASSIFICATION)

    explanation = explain(model)

    assert explanation["classes"] == [4, 5, 7]
    assert explanation["numberOfTrees"] == 2
    again = tree_model(read_trees(json.dumps(explanation)), CLASSIFICATION)
    for name, array in model.arrays.items():
        assert np.array_equal(array, again.arrays[name]), name


DAMAGES = {
    "class that is not there": ("leaf_label", np.array([0, 2], np.uint16)),
    "negative class": ("leaf_label", np.array([0, -1], np.int16)),
    "too few leaves": ("leaf_label", np.array([0], np.uint16)),
    "child beyond the tree": ("right", np.array([3, 0, 0], np.int32)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_prediction_could_leave_are_refused(damage):
    model = tree_model(read_trees(SIMPLE), CLASSIFICATION)
    name, array = DAMAGES[damage]
    model.arrays[name] = array

    with pytest.raises(ModelFileError):
        DecisionTreePredictor.check(model)


# Our own text: full precision keeps every decision, Earth Engine's 6 digits bound the difference.


def random_shape(generator, leaves: int, predictors: int) -> Shape:
    """A tree of any form: chains, balanced ones and all between; thresholds of every size."""
    right: list[int] = []
    waiting = [(leaves, -1)]
    skew = generator.uniform()
    while waiting:
        size, parent = waiting.pop()
        if parent >= 0:
            right[parent] = len(right)
        right.append(0)
        if size > 1:
            first = 1 if generator.uniform() < skew else int(generator.integers(1, size))
            waiting += [(size - first, len(right) - 1), (first, -1)]
    split = np.array(right) > 0
    size = generator.choice([1e-8, 1, 1, 3e4, 1e12], split.sum())
    threshold = np.zeros(split.size)
    threshold[split] = generator.normal(size=split.sum()) * size
    threshold[split] = np.where(
        generator.uniform(size=split.sum()) < 0.3, np.round(threshold[split], 2), threshold[split]
    )
    feature = np.where(split, generator.integers(0, predictors, split.size), -1)
    return Shape(feature.astype(np.int32), threshold, np.array(right, dtype=np.int32))


def random_forest(generator, kind: int) -> Model:
    predictors = ("red", "nir", "b_3")
    shapes = [random_shape(generator, int(generator.integers(1, 40)), 3) for _ in range(int(generator.integers(1, 4)))]
    leaves = sum(shape.leaves.size for shape in shapes)
    settings = defaults("trainrandomforest")
    if kind == 0:
        population = generator.integers(1, 50, leaves).astype(float)
        sums = population * generator.normal(size=leaves) * 10.0 ** generator.integers(-9, 9, leaves)
        arrays = forest_arrays(shapes, np.column_stack((population, sums)), [1.0] * len(shapes), REGRESSION)
        return Model("trainrandomforest", REGRESSION, settings, predictors, (), "y", arrays)
    counts = generator.integers(0, 9, (leaves, kind)) * (generator.uniform(size=(leaves, kind)) < 0.5)
    counts[:, 0] += ~counts.any(axis=1)
    arrays = forest_arrays(shapes, counts, [1.0] * len(shapes), CLASSIFICATION)
    return Model(
        "trainrandomforest", CLASSIFICATION, settings, predictors, class_table(range(0, 3 * kind, 3)), "c", arrays
    )


def text_of(model: Model, full_precision: bool) -> str:
    texts, start = [], 0
    labels = [item.value for item in model.classes]
    for shape in forest_shapes(model):
        leaves = slice(start, start + shape.leaves.size)
        start = leaves.stop
        if model.mode == REGRESSION:
            population, mean = model.arrays["leaf_population"][leaves], model.arrays["leaf_mean"][leaves]
            texts.append(regression_text(shape, population, mean, model.predictors, full_precision))
        elif full_precision and len(labels) > 7:  # 250 probabilities on each line take long to write
            values = np.array(labels)[model.arrays["leaf_counts"][leaves].argmax(axis=1)]
            texts.append(bare_text(shape, values, model.predictors))
        else:
            counts = model.arrays["leaf_counts"][leaves]
            texts.append(classification_text(shape, counts, model.predictors, labels, full_precision))
    return "".join(texts)


def rows_for(model: Model, generator) -> np.ndarray:
    """Values between the thresholds, on them, and beside them."""
    thresholds = model.arrays["threshold"][model.arrays["feature"] >= 0]
    places = np.concatenate((thresholds, generator.normal(size=20), [0.0])).astype(np.float32)
    places = np.concatenate((places, np.nextafter(places, np.float32(-1e38)), np.nextafter(places, np.float32(1e38))))
    return generator.choice(places, (200, 3))


@pytest.mark.parametrize("kind", [0, 3, 7, 250], ids=["regression", "3 classes", "7 classes", "250 classes"])
def test_full_precision_text_predicts_bit_for_bit(kind):
    generator = np.random.default_rng(kind)
    for _ in range(250):
        model = random_forest(generator, kind)
        read = read_trees(text_of(model, full_precision=True))
        again = tree_model(read, model.mode)
        rows = rows_for(model, generator)
        columns = [model.predictors.index(name) for name in read.predictors]
        for output_mode in again.output_modes:
            first = predict_rows(model, rows, output_mode)
            second = predict_rows(again, rows[:, columns], output_mode)
            assert np.array_equal(first, second)
        assert read.notes == []


@pytest.mark.parametrize("kind", [0, 3, 7, 250], ids=["regression", "3 classes", "7 classes", "250 classes"])
def test_earth_engines_six_digits_move_a_threshold_by_at_most_five_millionths(kind):
    generator = np.random.default_rng(kind)
    for _ in range(2 if kind == 250 else 25):
        model = random_forest(generator, kind)
        again = tree_model(read_trees(text_of(model, full_precision=False)), model.mode)

        before, after = model.arrays["threshold"], again.arrays["threshold"]

        assert np.array_equal(model.arrays["right"], again.arrays["right"])
        # half a unit of the sixth digit, and half a unit of single precision
        assert (np.abs(after - before) <= (5e-6 + 2**-24) * np.abs(before)).all()


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
def test_text_of_a_grown_forest_predicts_as_the_forest(mode):
    forest = small_forest(mode)
    again = tree_model(read_trees(text_of(forest, full_precision=True)), mode)
    generator = np.random.default_rng(3)
    rows = (generator.uniform(0, 1, (3000, 3)) * [100, 1, 2500]).astype(np.float32)
    columns = [forest.predictors.index(name) for name in again.predictors]

    for output_mode in again.output_modes:
        assert np.array_equal(
            predict_rows(forest, rows, output_mode), predict_rows(again, rows[:, columns], output_mode)
        )


# R's rpart: oracle/rpart/README.md

CASES = [
    "iris_deep",
    "iris_default",
    "iris_rootonly",
    "meuse_copper_digits3",
    "meuse_zinc_reg",
    "meuse_zinc_reg_deep",
    "sat_deep_b17_20",
    "sat_default",
    "sat_entropy",
    "signed_thresholds_class",
    "signed_thresholds_reg",
]
TABLES = {"iris": "iris", "sat": "sat", "meuse": "meuse", "signed": "meuse_signed"}


def oracle_rows(folder, shared):
    """Return the rows of predictions.csv, each with the predictors of its row in the test table."""
    table = shared / "oracle" / "data" / f"{TABLES[folder.name.replace('ensemble_', '').split('_')[0]]}_test.csv"
    with table.open() as file:
        source = {row["row"]: row for row in csv.DictReader(file)}
    with (folder / "predictions.csv").open() as file:
        return [{**source[row["row"]], **row} for row in csv.DictReader(file)]


@pytest.mark.parametrize("case", CASES)
def test_rs_own_print_predicts_what_its_text_says(case, shared):
    folder = shared / "oracle" / "rpart" / case
    text, rows = (folder / "tree.txt").read_text(), oracle_rows(folder, shared)
    mode = REGRESSION if "value" in rows[0] else CLASSIFICATION

    expected = [float(row["prediction_by_text"]) for row in rows]

    assert predicted(text, rows, mode) == pytest.approx(expected, rel=1e-6 if mode == REGRESSION else 0, abs=0)


@pytest.mark.parametrize("case", ["ensemble_iris_5", "ensemble_sat_10", "ensemble_meuse_reg_6"])
def test_ensemble_of_r_votes_and_averages(case, shared):
    folder = shared / "oracle" / "rpart" / case
    text, rows = (folder / "trees.json").read_text(), oracle_rows(folder, shared)
    trees = len(json.loads(text))
    each = [[float(row[f"tree{number + 1}"]) for row in rows] for number in range(trees)]

    if "mean" in rows[0]:  # R has more digits than its text
        assert np.array(predicted(text, rows, REGRESSION, RAW_REGRESSION)) == pytest.approx(np.array(each), rel=1e-6)
        assert predicted(text, rows, REGRESSION) == pytest.approx([float(row["mean"]) for row in rows], rel=1e-6)
    else:
        assert predicted(text, rows, CLASSIFICATION, RAW) == each
        assert predicted(text, rows) == [float(row["majority"]) for row in rows]


def test_handmade_strings_are_read(shared):
    for case in json.loads((shared / "oracle" / "rpart" / "handmade_strings.json").read_text()):
        expected = [point["expected"] for point in case["points"]]
        assert predicted(case["tree"], case["points"], REGRESSION) == expected, case["name"]


def test_smiles_text_is_read(shared):
    for name in ("cart_iris_default", "cart_sat_default", "cart_sat36_nodesize10", "cartreg_meuse_nodesize5"):
        case = json.loads((shared / "oracle" / "smile" / f"{name}.json").read_text())
        with (shared / "oracle" / case["test"]).open() as file:
            rows = list(csv.DictReader(file))
        mode = REGRESSION if "reg" in name else CLASSIFICATION

        found = predicted(case["tree"], rows, mode)

        # Smile predicts with thresholds of all digits, its text has 6, and leaf means with 6
        assert np.isclose(found, case["predictions"], rtol=1e-5).mean() >= 0.99, name


def test_explanation_has_full_precision():
    model = tree_model(read_trees(SIMPLE.replace("1.5", "0.1")), CLASSIFICATION)

    assert explain_trees(model)["trees"] == [
        "1) root 9999 9999 0\n 2) a<=0.10000000149011612 9999 9999 4 *\n 3) a>0.10000000149011612 9999 9999 7 *\n"
    ]
