"""The convex problem of Maxent: weights that maximise the likelihood of the presences under an L1 penalty.

Minimised is ln Z(λ) - Σ λ·m + Σ δ·|λ|, Z the sum of exp(Σ λ·f) over the training points, m the means of the features
over the presences.  As in M. Dudík, S. Phillips, R. Schapire 2004 (COLT, 472-486) one feature at a time takes the
step that is sure to gain most; here it goes to its own optimum, and now and then all features in use step together.
Maxent stops after 500 iterations, often before the optimum: stopping there too gives its answer, not a better one.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import numpy as np

from .maxent_features import Candidates, Features, feature_blocks, linear_predictor

ITERATIONS = 500
LOOK_BACK, LEAST_GAIN = 20, 1e-5  # stop when so many iterations gained less
TOGETHER = 10  # every tenth iteration moves all features in use
NEAR_ZERO = 1e-6  # a mean closer to 0 or 1 gives no step
SEARCH_STEPS, LONGEST_STEP, CLOSE_ENOUGH = 50, 4.0, 1e-7  # of the search along one feature
DOUBLINGS = 20  # of the search along all features
SMALLEST_VARIANCE = 1e-12

Check = Callable[[], None]


class Solution(NamedTuple):
    """chosen : positions of the features with a weight; weights : theirs; loss : at the end, penalty included."""

    chosen: np.ndarray
    weights: np.ndarray
    loss: float
    iterations: int


def solve(candidates: Candidates, means: np.ndarray, penalties: np.ndarray, check: Check) -> Solution:
    """Minimise over *candidates*; *means* over the presences and *penalties* δ (infinite = not used) per feature."""
    usable = np.flatnonzero(np.isfinite(penalties))
    problem = _Problem(candidates.features.take(usable), candidates.points, means[usable], penalties[usable], check)
    before, iterations = problem.loss, 0
    for iterations in range(1, ITERATIONS + 1):
        check()
        model_means = candidates.means(problem.probabilities)[usable]
        if iterations % TOGETHER == 0:
            problem.move_together(model_means)
        elif not problem.move_best(model_means):
            break
        if iterations % LOOK_BACK == 0:
            if before - problem.loss < LEAST_GAIN:
                break
            before = problem.loss
    chosen = np.flatnonzero(problem.weights)
    return Solution(usable[chosen], problem.weights[chosen], problem.loss, iterations)


class _Problem:
    """The weights of the features so far, and the linear predictor that they give to the training points."""

    def __init__(
        self, features: Features, points: np.ndarray, means: np.ndarray, penalties: np.ndarray, check: Check
    ) -> None:
        self.features, self.points, self.check = features, points, check
        self.means, self.penalties = means, penalties
        self.weights = np.zeros(len(means))
        self.predictor = np.zeros(points.shape[1])
        self.reward = 0.0  # Σ λ·m - Σ δ·|λ|
        self.loss = _log_sum(self.predictor)

    @property
    def probabilities(self) -> np.ndarray:
        return _probabilities(self.predictor)

    def move_best(self, model_means: np.ndarray) -> bool:
        """Move the weight that is sure to gain most; return False when none gains."""
        excess = np.abs(model_means - self.means) - self.penalties
        places = np.flatnonzero((excess > 0) | (self.weights != 0))
        chosen = model_means[places], self.means[places], self.penalties[places], self.weights[places]
        steps = _sure_steps(*chosen)
        gains = _sure_gains(*chosen, steps)
        if not gains.size or gains.max() <= 0:
            return False
        best = int(np.argmax(gains))
        self._move_one(int(places[best]), float(steps[best]))
        return True

    def move_together(self, model_means: np.ndarray) -> None:
        """Move all weights in use along their own Newton steps, as far as doubling or halving the step helps."""
        chosen = np.flatnonzero(self.weights)
        if not chosen.size:
            return
        squares, probabilities = np.zeros(chosen.size), self.probabilities
        features = self.features.take(chosen)
        for span, values in feature_blocks(features, self.points):
            squares += np.square(values) @ probabilities[span]
        variances = np.maximum(squares - model_means[chosen] ** 2, SMALLEST_VARIANCE)
        weights, penalties = self.weights[chosen], self.penalties[chosen]
        wanted = weights - (model_means - self.means)[chosen] / variances
        direction = (_shrunk(wanted, penalties / variances) - weights) / chosen.size
        along = linear_predictor(features, direction, self.points, True, self.check)

        def loss_at(share: float) -> float:
            return self._loss_after(chosen, share * direction, share * along)

        share = 1.0
        loss = loss_at(share)
        factor = 2.0 if loss < self.loss else 0.5
        for _ in range(DOUBLINGS):
            trial = loss_at(share * factor)
            if trial >= loss and loss < self.loss:
                break
            share, loss = share * factor, trial
        if loss < self.loss:
            self._move(chosen, share * direction, share * along)

    def _move_one(self, feature: int, sure_step: float) -> None:
        """Move one weight to where it is best, or by *sure_step* should the search end elsewhere."""
        one = self.features.take(slice(feature, feature + 1))
        values = linear_predictor(one, np.ones(1), self.points, True, self.check)
        chosen, penalty = np.array([feature]), self.penalties[feature]
        steps = [self._best_step(values, self.means[feature], penalty, self.weights[feature]), sure_step]
        losses = [self._loss_after(chosen, np.array([step]), step * values) for step in steps]
        better = int(losses[1] < losses[0])
        if losses[better] < self.loss:
            self._move(chosen, np.array([steps[better]]), steps[better] * values)

    def _best_step(self, values: np.ndarray, mean: float, penalty: float, weight: float) -> float:
        """Return the best change of one weight: Newton's method with the L1 penalty kept exact."""
        step = 0.0
        for _ in range(SEARCH_STEPS):
            probabilities = _probabilities(self.predictor + step * values)
            model_mean = probabilities @ values
            variance = max(probabilities @ np.square(values) - model_mean**2, SMALLEST_VARIANCE)
            wanted = _shrunk(weight + step - (model_mean - mean) / variance, penalty / variance) - weight
            change = wanted - step
            step = float(wanted if abs(change) <= LONGEST_STEP else step + np.copysign(LONGEST_STEP, change))
            if abs(change) < CLOSE_ENOUGH:
                break
        return step

    def _loss_after(self, chosen: np.ndarray, steps: np.ndarray, along: np.ndarray) -> float:
        """Return the loss after *steps* of the weights *chosen*, which change the linear predictor by *along*."""
        return _log_sum(self.predictor + along) - self.reward - self._rewarded(chosen, steps)

    def _rewarded(self, chosen: np.ndarray, steps: np.ndarray) -> float:
        """Return by how much *steps* change Σ λ·m - Σ δ·|λ|."""
        lengths = np.abs(self.weights[chosen] + steps) - np.abs(self.weights[chosen])
        return float(steps @ self.means[chosen] - self.penalties[chosen] @ lengths)

    def _move(self, chosen: np.ndarray, steps: np.ndarray, along: np.ndarray) -> None:
        self.reward += self._rewarded(chosen, steps)
        self.weights[chosen] += steps
        self.predictor += along
        self.loss = _log_sum(self.predictor) - self.reward


def _sure_steps(model_means: np.ndarray, means: np.ndarray, penalties: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return for each feature the change of weight that minimises the bound of `_sure_gains`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = np.log((means - penalties) * (1 - model_means) / ((1 - means + penalties) * model_means))
        fall = np.log((means + penalties) * (1 - model_means) / ((1 - means - penalties) * model_means))
    rise = np.where((means - penalties > NEAR_ZERO) & np.isfinite(rise), rise, -np.inf)
    fall = np.where((1 - means - penalties > NEAR_ZERO) & np.isfinite(fall), fall, np.inf)
    return np.where(rise + weights > 0, rise, np.where(fall + weights < 0, fall, -weights))


def _sure_gains(
    model_means: np.ndarray, means: np.ndarray, penalties: np.ndarray, weights: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Return how much the loss falls at least: exp(α f) is at most 1 + f·(exp(α) - 1) for f from 0 to 1."""
    log_sum = np.log1p(model_means * np.expm1(steps))
    return means * steps - log_sum - penalties * (np.abs(weights + steps) - np.abs(weights))


def _shrunk(wanted: Any, limit: Any) -> Any:
    """Return *wanted* moved towards 0 by *limit*, and 0 where it is not farther away."""
    return np.sign(wanted) * np.maximum(np.abs(wanted) - limit, 0.0)


def _log_sum(predictor: np.ndarray) -> float:
    largest = predictor.max()
    return float(largest + np.log(np.exp(predictor - largest).sum()))


def _probabilities(predictor: np.ndarray) -> np.ndarray:
    odds = np.exp(predictor - predictor.max())
    return odds / odds.sum()
