"""Counting one vote per tree and row."""

from __future__ import annotations

import numpy as np

CLASSES_PER_WORD = 8  # one byte each
MOST_IN_BYTE = 255
MOST_WORDS = 4  # with more classes one addition per row is cheaper than one per word


class VoteCounter:
    """Adds votes up: eight classes share a 64-bit word, which is emptied before a byte can overflow."""

    def __init__(self, rows: int, classes: int) -> None:
        self.classes = classes
        self.words = -(-classes // CLASSES_PER_WORD)
        self.counts = np.zeros((rows, self.words * CLASSES_PER_WORD), dtype=np.uint32)
        self.packed = [np.zeros(rows, dtype="<u8") for _ in range(self.words)] if self.words <= MOST_WORDS else []
        self.pending = 0
        self.row_starts = np.arange(rows) * self.counts.shape[1]

    def add(self, leaf_labels: np.ndarray, leaves: np.ndarray) -> None:
        """Count the vote of a tree: *leaf_labels* (leaves,) class positions, *leaves* (rows,) the leaf of each row."""
        if not self.packed:
            self.counts.ravel()[self.row_starts + leaf_labels[leaves]] += 1
            return
        if self.pending == MOST_IN_BYTE:
            self._empty()
        self.pending += 1
        votes = np.left_shift(np.uint64(1), (leaf_labels % CLASSES_PER_WORD * 8).astype(np.uint64))
        for word, packed in enumerate(self.packed):
            packed += np.where(leaf_labels // CLASSES_PER_WORD == word, votes, np.uint64(0))[leaves]

    def winners(self) -> np.ndarray:
        """Return the position of the class with most votes for each row; the lowest of equal ones."""
        self._empty()
        return self.counts[:, : self.classes].argmax(axis=1)

    def _empty(self) -> None:
        for word, packed in enumerate(self.packed):
            columns = slice(word * CLASSES_PER_WORD, (word + 1) * CLASSES_PER_WORD)
            self.counts[:, columns] += packed.view(np.uint8).reshape(-1, CLASSES_PER_WORD)
            packed[:] = 0
        self.pending = 0
