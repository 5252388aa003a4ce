"""Probabilities from the decision values of pairs of classes: a sigmoid for each pair, and all pairs coupled.

The columns (rows of the table) are computed for themselves, with element-wise operations: a pixel's probabilities
are the same wherever it stands.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

NEWTON_STEPS, SMALLEST_STEP, GRADIENT_TOLERANCE, RIDGE = 100, 1e-10, 1e-5, 1e-12
SUFFICIENT_DECREASE = 1e-4
SMALLEST_PROBABILITY = 1e-7
COUPLING_STEPS, COUPLING_TOLERANCE = 100, 0.005
COUPLED_VALUES = 2**18  # classes × classes × rows at a time


def pairs(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return first and second class of every pair: (0, 1), (0, 2), …, (1, 2), …"""
    return np.triu_indices(classes, 1)


def fit_sigmoid(decision_values: np.ndarray, first: np.ndarray) -> tuple[float, float]:
    """Return A and B of P(first class | value f) = 1 / (1 + exp(A f + B)), as maximum likelihood has them.

    *first* tells which of the values belong to the pair's first class.  Newton's method with backtracking: Lin, Lin
    and Weng (2007), A note on Platt's probabilistic outputs for support vector machines, algorithm 1.
    """
    hits, misses = int(first.sum()), int((~first).sum())
    targets = np.where(first, (hits + 1) / (hits + 2), 1 / (misses + 2))
    slope, offset = 0.0, float(np.log((misses + 1) / (hits + 1)))
    loss = _cross_entropy(slope * decision_values + offset, targets)
    for _ in range(NEWTON_STEPS):
        probability = _sigmoid(slope * decision_values + offset)
        residual, weight = targets - probability, probability * (1 - probability)
        gradient = np.array([(decision_values * residual).sum(), residual.sum()])
        if np.abs(gradient).max() < GRADIENT_TOLERANCE:
            break
        a = RIDGE + (decision_values**2 * weight).sum()
        b = (decision_values * weight).sum()
        c = RIDGE + weight.sum()
        determinant = a * c - b * b
        if determinant <= 0:  # only by rounding: all values are equal and huge
            break
        direction = np.array([b * gradient[1] - c * gradient[0], b * gradient[0] - a * gradient[1]]) / determinant
        step = 1.0
        while step >= SMALLEST_STEP:
            moved = slope + step * direction[0], offset + step * direction[1]
            moved_loss = _cross_entropy(moved[0] * decision_values + moved[1], targets)
            if moved_loss < loss + SUFFICIENT_DECREASE * step * float(gradient @ direction):
                break
            step /= 2
        else:
            break
        (slope, offset), loss = moved, moved_loss
    return float(slope), float(offset)


def pair_probabilities(decision_values: np.ndarray, sigmoids: np.ndarray) -> np.ndarray:
    """Return P(first class of the pair), (pairs, rows), of *decision_values* with *sigmoids* (pairs, 2): A and B."""
    exponents = sigmoids[:, :1] * decision_values + sigmoids[:, 1:]
    return np.clip(_sigmoid(exponents), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)


def class_probabilities(first: np.ndarray, classes: int, check: Callable[[], None]) -> np.ndarray:
    """Return (classes, rows): the pairs' probabilities *first* (pairs, rows) coupled, each column summing to 1."""
    if classes == 2:
        return np.concatenate((first, 1 - first))
    result = np.empty((classes, first.shape[1]))
    step = max(64, COUPLED_VALUES // classes**2 // 64 * 64)
    for start in range(0, first.shape[1], step):
        result[:, start : start + step] = _coupled(first[:, start : start + step], classes, check)
    return result


def _coupled(first: np.ndarray, classes: int, check: Callable[[], None]) -> np.ndarray:
    """Wu, Lin and Weng (2004), Probability estimates for multi-class classification by pairwise coupling, algorithm 2.

    A column that has converged stays as it is while others go on.
    """
    i, j = pairs(classes)
    wins = np.zeros((classes, classes, first.shape[1]))
    wins[i, j], wins[j, i] = first, 1 - first
    matrix = -wins * wins.swapaxes(0, 1)
    diagonal = np.arange(classes)
    matrix[diagonal, diagonal] = np.square(wins).sum(axis=0)  # Q_tt = Σ_j r_jt²
    shares = np.full((classes, first.shape[1]), 1 / classes)
    for _ in range(max(COUPLING_STEPS, classes)):
        check()
        products = (matrix * shares).sum(axis=1)
        total = (shares * products).sum(axis=0)
        active = np.abs(products - total).max(axis=0) >= COUPLING_TOLERANCE / classes
        if not active.any():
            break
        for t in range(classes):
            change = np.where(active, (total - products[t]) / matrix[t, t], 0.0)
            scale = 1 + change
            total = (total + change * (change * matrix[t, t] + 2 * products[t])) / scale**2
            products = (products + change * matrix[t]) / scale
            shares[t] += change
            shares /= scale
    return shares


def _sigmoid(exponents: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(z)) without overflow."""
    return np.exp(-np.logaddexp(0, exponents))


def _cross_entropy(exponents: np.ndarray, targets: np.ndarray) -> float:
    """Return -Σ t ln p + (1 - t) ln(1 - p) with p = 1 / (1 + exp(z)): t z + ln(1 + exp(-z))."""
    return float((targets * exponents + np.logaddexp(0, -exponents)).sum())
