"""Text -> trees: what Earth Engine's explain() and R's rpart print, and what people write by hand (reference 3.4)."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from decimal import Decimal
from typing import Iterator, NamedTuple

import numpy as np

from .errors import TableError
from .progress import Progress
from .trees import Shape

NODE = re.compile(r"\s*(?P<id>\d+)\)\s*(?P<rest>.*)")
REST = re.compile(
    r"(?P<split>root|.+?\s*(?:<=|>=|<|>|=)\s*\S+)"
    r"\s+(?P<count>\S+)\s+(?P<loss>\S+)\s+(?P<value>[^\s(*]+)\s*(?:\((?P<shares>[^()]*)\))?\s*(?P<leaf>\*)?\s*"
)
SPLIT = re.compile(r"(?P<name>.+?)\s*(?P<operator><=|>=|<|>|=)\s*(?P<value>\S+)")
IGNORED = re.compile(r"\s*(n\s*=.*|node\), split.*|\* denotes.*)?", re.IGNORECASE)
GRAPHVIZ = re.compile(r"\s*(strict\s+)?digraph\b")
OPPOSITE = {"<=": ">", ">": "<=", "<": ">=", ">=": "<"}
TREE_COLUMN = "tree"  # of the table form, which has # for every line break
LONGEST_CELL = 2**31 - 1


class TextTree(NamedTuple):
    """One tree; *values* float64 (leaves,) from left to right."""

    shape: Shape
    values: np.ndarray


class TextTrees(NamedTuple):
    """All trees of a text; *predictors* in the order of their first occurrence; *notes* for the user."""

    trees: list[TextTree]
    predictors: tuple[str, ...]
    notes: list[str]


class _Node(NamedTuple):
    line: int
    id: int
    split: str
    value: str
    leaf: bool


class _Split(NamedTuple):
    """The condition on a node's own line."""

    name: str
    operator: str
    threshold: float


def read_trees(text: str, progress: Progress | None = None) -> TextTrees:
    """Return the trees of *text*, in any form that `tree_strings` takes; raises `TableError`."""
    progress = progress or Progress()
    strings = tree_strings(text)
    reader = _Reader()
    trees: list[TextTree] = []
    for number, string in enumerate(strings):
        place = f"text {number + 1}, " if len(strings) > 1 else ""
        for nodes in _separate(_nodes(string, place)):
            trees.append(reader.tree(nodes, place))
        progress(number + 1, len(strings))
    if not trees:
        raise TableError("There is no tree in the text: the first node should read like 1) root 100 50 0.")
    return TextTrees(trees, tuple(reader.predictors), reader.notes())


def tree_strings(text: str) -> list[str]:
    """Return the strings of *text*: of a JSON list or explanation, of a table's column ``tree``, or itself."""
    strings = _json_strings(text) if text.lstrip()[:1] in ("[", "{") else _table_strings(text)
    return [_with_line_breaks(string) for string in strings]


def _json_strings(text: str) -> list[str]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise TableError(
            f"The text looks like JSON but is none ({error}): give the trees as a list of texts."
        ) from None
    if isinstance(content, dict):
        if "startScores" in content:
            raise TableError(
                "These are the trees of a gradient tree boost, which add up, while ready-made trees vote or are "
                "averaged: use the boosted model itself."
            )
        content = content.get("trees") or content.get("tree")
    if isinstance(content, str):
        content = [content]
    if not isinstance(content, list) or not content or not all(isinstance(item, str) for item in content):
        raise TableError("The JSON holds no trees: give a list of texts, or what explain() writes, with its key trees.")
    return content


def _table_strings(text: str) -> list[str]:
    """Return the column ``tree`` of a CSV table, or *text* itself when it is none."""
    header = text.partition("\n")[0].replace('"', "").replace(";", ",")
    columns = [name.strip().lower() for name in header.split(",")]
    if TREE_COLUMN not in columns:
        return [text]
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    limit = csv.field_size_limit(LONGEST_CELL)  # Python's own, 131,072 characters, is shorter than many trees
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))[1:]
    except csv.Error as error:
        raise TableError(f"The table of trees cannot be read ({error}): check its quotes.") from error
    finally:
        csv.field_size_limit(limit)
    column = columns.index(TREE_COLUMN)
    return [row[column] for row in rows if len(row) > column and row[column].strip()]


def _with_line_breaks(text: str) -> str:
    """Return *text* with the breaks that a table (#) or a copied JSON text (\\n) has in other signs."""
    if "\n" in text.strip():
        return text
    return text.replace("\\n", "\n").replace("#", "\n")


def _nodes(text: str, place: str) -> Iterator[_Node]:
    begun = False
    for line, content in enumerate(text.splitlines(), 1):
        if GRAPHVIZ.match(content):
            raise TableError(
                f"In {place}line {line} begins a Graphviz drawing (digraph), whose numbers are rounded to 4 digits: "
                "call explain() again, today's Earth Engine prints regression trees as text."
            )
        match = NODE.match(content)
        if match is None:
            if begun and not IGNORED.fullmatch(content):
                raise TableError(f"In {place}line {line} is no node: {_short(content)!r} has no number with a bracket.")
            continue
        begun = True
        rest = REST.fullmatch(match["rest"])
        if rest is None:
            raise TableError(
                f"In {place}line {line} node {match['id']} cannot be read: {_short(content)!r} should be number, "
                "bracket, condition, n, loss, yval, and * on a leaf."
            )
        yield _Node(line, int(match["id"]), rest["split"], rest["value"], rest["leaf"] is not None)


def _separate(nodes: Iterator[_Node]) -> Iterator[dict[int, _Node]]:
    """Yield the nodes of each tree by number; a number that occurs again starts a new tree."""
    tree: dict[int, _Node] = {}
    for node in nodes:
        if node.id in tree:
            yield tree
            tree = {}
        tree[node.id] = node
    if tree:
        yield tree


class _Reader:
    """Turns nodes by number into trees; remembers what is worth a note."""

    def __init__(self) -> None:
        self.predictors: dict[str, int] = {}
        self.refusals: list[str] = []  # what Earth Engine would say of a tree that is not in preorder
        self.contradictions: list[str] = []

    def tree(self, nodes: dict[int, _Node], place: str) -> TextTree:
        first = next(iter(nodes.values()))
        if 1 not in nodes:
            raise TableError(f"In {place}line {first.line} begins a tree without node 1: begin it with 1) root.")
        questions = {node.id: self._question(nodes, node, place) for node in nodes.values() if not node.leaf}
        feature: list[int] = []
        threshold: list[float] = []
        right: list[int] = []
        values: list[float] = []
        waiting = [(1, -1)]  # a node, and the row of the split that it is the right child of
        while waiting:
            number, parent = waiting.pop()
            if parent >= 0:
                right[parent] = len(right)
            right.append(0)
            question = questions.get(number)
            if question is None:
                feature.append(-1)
                threshold.append(0.0)
                values.append(_number(nodes[number].value, nodes[number], place))
                continue
            low = 2 * number if question.operator in ("<", "<=") else 2 * number + 1
            waiting += [(4 * number + 1 - low, len(feature)), (low, -1)]
            feature.append(self.predictors[question.name])
            threshold.append(_at_most(question))
        if len(feature) < len(nodes):
            self._refuse_lost(nodes, place)
        self._note_order(nodes, place)
        shape = Shape(np.array(feature, np.int32), np.array(threshold), np.array(right, np.int32))
        return TextTree(shape, np.array(values))

    def notes(self) -> list[str]:
        notes = []
        if self.refusals:
            notes.append(
                f"Earth Engine would refuse {len(self.refusals)} of the trees, whose lines are in another order than "
                f"node, left branch, right branch: {self.refusals[0]}"
            )
        if self.contradictions:
            notes.append(
                f"{len(self.contradictions)} right branches do not say the opposite of their left ones, which count: "
                f"{self.contradictions[0]}"
            )
        return notes

    def _question(self, nodes: dict[int, _Node], node: _Node, place: str) -> _Split:
        """Return the condition of the left child; raise `TableError` when a child is missing."""
        children = [nodes.get(2 * node.id), nodes.get(2 * node.id + 1)]
        for child, number in zip(children, (2 * node.id, 2 * node.id + 1)):
            if child is None:
                raise TableError(
                    f"Error parsing {place}line {node.line}: expected {number}: node {node.id} has no *, so it is a "
                    f"split, but its child {number} is missing; add the line, or mark a leaf with *."
                )
        left, right = (_split(child, place) for child in children if child is not None)
        if right != left._replace(operator=OPPOSITE[left.operator]):
            self.contradictions.append(f"nodes {2 * node.id} and {2 * node.id + 1} below {place}line {node.line}.")
        self.predictors.setdefault(left.name, len(self.predictors))
        return left

    def _refuse_lost(self, nodes: dict[int, _Node], place: str) -> None:
        for node in nodes.values():
            parent = nodes.get(node.id // 2)
            if node.id > 1 and (parent is None or parent.leaf):
                raise TableError(
                    f"In {place}line {node.line} node {node.id} hangs on no split: node {node.id // 2} is "
                    f"{'missing' if parent is None else 'a leaf'}; add its line or remove this one."
                )

    def _note_order(self, nodes: dict[int, _Node], place: str) -> None:
        waiting = [1]
        for node in nodes.values():
            expected = waiting.pop()
            if node.id != expected:
                self.refusals.append(f"Error parsing {place}line {node.line}: expected {expected}, got {node.id}.")
                return
            if not node.leaf:
                waiting += [2 * node.id + 1, 2 * node.id]


def _split(node: _Node, place: str) -> _Split:
    match = SPLIT.fullmatch(node.split)
    if match is None:
        raise TableError(f"In {place}line {node.line} node {node.id} has no condition: write one like NDVI<=0.2.")
    if match["operator"] == "=":
        raise TableError(
            f"In {place}line {node.line} node {node.id} splits by categories ({_short(node.split)}), and rasters hold "
            "numbers: give the categories numbers and grow the tree again."
        )
    return _Split(match["name"], match["operator"], _number(match["value"], node, place))


def _number(text: str, node: _Node, place: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TableError(
            f"In {place}line {node.line} node {node.id} has {_short(text)!r} where a number belongs: give the classes "
            "numbers and write thresholds with a point."
        )
    return number


def _at_most(split: _Split) -> float:
    """Return the threshold up to which a value takes the lower branch, for values in single precision.

    A number with few digits (0.1) means the single-precision number that those digits name, as the pixels have it;
    one with more digits than these have stands between two of them and is kept.
    """
    threshold = split.threshold
    with np.errstate(over="ignore"):
        single = np.float32(threshold)
    if np.isfinite(single) and Decimal(str(single)) == Decimal(repr(threshold)):
        threshold = float(single)
    return float(np.nextafter(threshold, -np.inf)) if split.operator in ("<", ">=") else threshold


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else f"{text[:57]}…"
