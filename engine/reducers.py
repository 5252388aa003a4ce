"""The table of reducers: a row is a regression or correlation of Y on X, and the only place that knows it.

Algorithms per pixel, per region and per table, help, documentation and tests come from these rows.  ``kernel`` is
text, imported when called, so that reading the table costs nothing.

A kernel is a pure function on arrays::

    kernel(x, y, valid, check, *, settings...) -> float64 (outputs, pixels)

    x      float64 (number of X, images, pixels), or (number of X, images, 1) where no X varies from pixel to pixel
    y      float64 (number of Y, images, pixels)
    valid  bool (images, pixels): which images count for a pixel (in a table: one pixel, rows instead of images)
    check  called at least every 100 ms of work; raises `Canceled`

x and y are finite everywhere; what they hold where not valid means nothing, and none of the three is changed.  The
keywords are the row's settings, in its order.  The outputs are those that `Reducer.outputs` names, in its order; NaN
where one is not defined, which never raises or warns.  What a pixel gets does not depend, bit for bit, on the other
pixels of the call: a sum over images is made image by image (`sums.over_images`), never by BLAS or ``np.sum``.  There
is no Python loop over pixels.  A call gets at most 2**20 values of x and y together (in a table it may be more), so
that a few arrays of that size are cheap; what needs more (all pairs of images) works through it in blocks.

A lean kernel does the same for the most frequent case only: every X is built in, the one Y is a band that is neither
resampled nor wider than `lean_fit.Stored` allows, and ``significance`` is off.  It works on the numbers that the files
store, and leaves pixels it is not sure of to the other::

    lean(x (number of X, images), stored, scratch) -> lean_fit.LeanFit
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

from .errors import SettingError
from .settings import Number, Setting, Switch, parameter_name

Names = Sequence[str]
CONSTANT, TIME = "constant", "time"


@dataclass(frozen=True)
class Reducer:
    """One reducer: what it is called, what goes in, which function computes it, what comes out.

    ``names(x, y, settings)`` gives the outputs, ``least(number of X)`` the number of valid images (or rows) below which
    nothing is defined.  A ``pair`` takes exactly one X and one Y; the others several of each.
    """

    id: str
    twin: str
    title: str
    summary: str
    kernel: str
    names: Callable[[Names, Names, Mapping[str, Any]], list[str]]
    least: Callable[[int], int]
    pair: bool
    default_x: tuple[str, ...] = (TIME,)
    settings: tuple[Setting, ...] = ()
    notes: str = ""
    lean: str = ""

    @property
    def word(self) -> str:
        """What Earth Engine calls it: linearFit."""
        return self.twin.rpartition(".")[2]

    def function(self) -> Callable:
        return _imported(self.kernel)

    def lean_function(self) -> Callable:
        return _imported(self.lean)

    def check_variables(self, x: Names, y: Names) -> None:
        """Raise `SettingError` when there are too few or too many X or Y, or one of them twice."""
        for name, chosen in (("X", x), ("Y", y)):
            if not chosen:
                raise SettingError(f"{name} is empty: {self.word} needs at least one variable there.")
            if self.pair and len(chosen) > 1:
                raise SettingError(f"{name} is {','.join(chosen)}: {self.word} takes one variable there.")
            twice = sorted({item for item in chosen if list(chosen).count(item) > 1})
            if twice:
                raise SettingError(f"{name} has {twice[0]} twice: leave one out.")

    def outputs(self, x: Names, y: Names, settings: Mapping[str, Any]) -> list[str]:
        """Return the names of the kernel's outputs for these names of X and Y (``n`` is not among them)."""
        names: list[str] = []
        for name in self.names(x, y, settings):
            number = names.count(name) + 1  # ridge regression's own constant and that among X
            names.append(name if number == 1 else f"{name}_{number}")
        return names

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return every setting, defaults filled in; raise `SettingError` on an unknown name or a bad value."""
        unknown = set(settings) - {setting.name for setting in self.settings}
        if unknown:
            named = ", ".join(sorted(parameter_name(name) for name in unknown))
            raise SettingError(f"{self.title} has no setting named {named}.")
        return {setting.name: setting.checked(settings.get(setting.name)) for setting in self.settings}


def _imported(text: str) -> Callable:
    module, name = text.split(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)


def _fixed(*names: str, significance: Names = ()) -> Callable[[Names, Names, Mapping[str, Any]], list[str]]:
    """Return the function ``names`` of a pair whose outputs are always called the same."""
    return lambda x, y, settings: [*names, *(significance if settings.get("significance") else ())]


def per_y(name: str, y: Names) -> list[str]:
    """Return what an output that every Y has is called: plainly with one Y, ``<name>_<y>`` with several."""
    return [name] if len(y) == 1 else [f"{name}_{each}" for each in y]


def _coefficients(x: Names, y: Names, suffix: str = "") -> list[str]:
    """Return ``<x>_<y>``, the Y of the first X before the next X: Earth Engine's arrayFlatten."""
    return [f"{each_x}_{each_y}{suffix}" for each_x in x for each_y in y]


def _linear_names(x: Names, y: Names, settings: Mapping[str, Any]) -> list[str]:
    names = _coefficients(x, y) + per_y("residuals", y)
    if settings.get("significance"):
        names += _coefficients(x, y, "_standard_error") + _coefficients(x, y, "_p-value") + per_y("r_squared", y)
    return names


def _robust_names(x: Names, y: Names, settings: Mapping[str, Any]) -> list[str]:
    names = _coefficients(x, y) + per_y("residuals", y)
    return names + (["inliers", *per_y("r_squared", y)] if settings.get("significance") else [])


def _ridge_names(x: Names, y: Names, settings: Mapping[str, Any]) -> list[str]:
    first = (CONSTANT,) if settings["intercept"] else ()
    names = _coefficients((*first, *x), y) + per_y("residuals", y) + per_y("pValue", y)
    return names + (per_y("r_squared", y) if settings.get("significance") else [])


def _significance(bands: str) -> Switch:
    return Switch("significance", f"Add {bands}", False)


REDUCERS = (
    Reducer(
        id="linearfit",
        twin="ee.Reducer.linearFit",
        title="Linear fit",
        summary="The straight line through each pixel's values: its slope (scale) and intercept (offset).",
        kernel="linear_regression:linear_fit",
        lean="lean_fit:linear_fit",
        names=_fixed(
            "scale",
            "offset",
            significance=("scale_standard_error", "offset_standard_error", "r_squared", "scale_p-value"),
        ),
        least=lambda x: 2,
        pair=True,
        settings=(_significance("standard errors, R² and the p-value of the slope (t test)"),),
        notes="Least squares; nothing where X does not vary. The significance bands need three images.",
    ),
    Reducer(
        id="linearregression",
        twin="ee.Reducer.linearRegression",
        title="Linear regression",
        summary="Least squares of one or several Y on several X.",
        kernel="linear_regression:linear_regression",
        names=_linear_names,
        least=lambda x: x + 1,
        pair=False,
        default_x=(CONSTANT, TIME),
        settings=(_significance("standard errors and p-values (t test) of the coefficients, and R²"),),
        notes="There is no intercept unless <i>constant</i> is among X. The band <i>residuals</i> is the root mean "
        "square of the residuals. Nothing where images are too few (n ≤ number of X) or X depend on each other.",
    ),
    Reducer(
        id="robustlinearregression",
        twin="ee.Reducer.robustLinearRegression",
        title="Robust linear regression",
        summary="Least squares that leaves out what lies far from the line, such as unmasked clouds.",
        kernel="robust_regression:robust_linear_regression",
        names=_robust_names,
        least=lambda x: x,
        pair=False,
        default_x=(CONSTANT, TIME),
        settings=(
            Number("beta", "Largest residual of an inlier, in units of Y (empty = from the data)", None, minimum=0),
            _significance("the number of inliers and their R²"),
        ),
        notes="Iteratively reweighted least squares with Talwar's cost (O'Leary 1990): weight 1 for inliers, 0 for "
        "outliers, until these no longer change (at most 50 times). An image is an outlier where the root mean square "
        "of its residuals over all Y is above BETA; without BETA, where its leverage-adjusted residual reaches 2.795 "
        "robust standard deviations (Earth Engine does not document its own). <i>residuals</i> is over the inliers.",
    ),
    Reducer(
        id="ridgeregression",
        twin="ee.Reducer.ridgeRegression",
        title="Ridge regression",
        summary="Least squares that shrinks the coefficients, for X that resemble each other.",
        kernel="linear_regression:ridge_regression",
        names=_ridge_names,
        least=lambda x: x + 1,
        pair=False,
        settings=(
            Number("lambda_", "Penalty on the squared coefficients (lambda)", 0.1, minimum=0),
            Switch("intercept", "Add the intercept, which is not penalised", True, advanced=True),
            Switch("standardize", "Scale each X to unit standard deviation before the penalty", False),
            _significance("R²"),
        ),
        notes="The intercept comes by itself (first, as <i>constant</i>) and is not penalised: do not put "
        "<i>constant</i> among X. The penalty depends on the units of X unless STANDARDIZE is on. <i>pValue</i> is "
        "that of an F test of all X together.",
    ),
    Reducer(
        id="sensslope",
        twin="ee.Reducer.sensSlope",
        title="Sen's slope",
        summary="The median of the slopes between all pairs of images (Theil–Sen): a trend that outliers do not move.",
        kernel="rank_regression:sens_slope",
        names=_fixed(
            "slope",
            "offset",
            significance=("mann_kendall_s", "mann_kendall_z", "mann_kendall_p-value"),
        ),
        least=lambda x: 2,
        pair=True,
        settings=(_significance("the Mann–Kendall test: S, z (ties, continuity correction) and two-sided p-value"),),
        notes="Pairs with equal X are left out; the offset is the median of y − slope·x.",
    ),
    Reducer(
        id="pearsonscorrelation",
        twin="ee.Reducer.pearsonsCorrelation",
        title="Pearson's correlation",
        summary="How close X and Y lie to a straight line, −1 to 1, and the two-sided p-value.",
        kernel="correlation:pearsons_correlation",
        names=_fixed("correlation", "p-value"),
        least=lambda x: 2,
        pair=True,
        notes="Nothing where X or Y does not vary; the p-value (t test) needs three images.",
    ),
    Reducer(
        id="spearmanscorrelation",
        twin="ee.Reducer.spearmansCorrelation",
        title="Spearman's rank correlation",
        summary="How closely the ranks of X and Y agree, −1 to 1, and the two-sided p-value.",
        kernel="correlation:spearmans_correlation",
        names=_fixed("correlation", "p-value"),
        least=lambda x: 2,
        pair=True,
        notes="Ties get the mean of their ranks. Nothing where X or Y does not vary. Without ties the p-value is that "
        "of all permutations (up to 9 images) or of algorithm AS 89, with ties that of a t test, as in R.",
    ),
    Reducer(
        id="kendallscorrelation",
        twin="ee.Reducer.kendallsCorrelation",
        title="Kendall's rank correlation",
        summary="How many pairs of images agree in order, as tau-b from −1 to 1, and the two-sided p-value.",
        kernel="correlation:kendalls_correlation",
        names=_fixed("tau", "p-value"),
        least=lambda x: 2,
        pair=True,
        notes="Nothing where X or Y does not vary. The p-value is exact below 50 images without ties, else from the "
        "normal distribution.",
    ),
)

REDUCERS_BY_ID = {reducer.id: reducer for reducer in REDUCERS}
