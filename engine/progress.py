"""What long work reports to, and asks whether to go on."""

from __future__ import annotations

from .errors import Canceled


class Progress:
    """Says nothing and never cancels; the floors above override the four methods that speak.

    Long work calls ``progress(done, total)`` once per tile, tree or layer; the call raises
    `Canceled` when the user asked to stop.
    """

    def __call__(self, done: float, total: float) -> None:
        self.check()
        if total > 0:
            self.share(done / total)

    def check(self) -> None:
        """Raise `Canceled` when the user asked to stop."""
        if self.is_canceled():
            raise Canceled()

    def is_canceled(self) -> bool:
        return False

    def share(self, share: float) -> None:
        """Take note that *share* (0 to 1) of the work is done."""

    def message(self, text: str) -> None:
        """Tell the user something worth knowing."""

    def warn(self, text: str) -> None:
        """Tell the user something to look at."""


class Part(Progress):
    """A span of another progress, for work in several steps: ``Part(progress, 0.2, 1)``."""

    def __init__(self, whole: Progress, start: float, end: float) -> None:
        self._whole, self._start, self._end = whole, start, end

    def is_canceled(self) -> bool:
        return self._whole.is_canceled()

    def share(self, share: float) -> None:
        self._whole.share(self._start + share * (self._end - self._start))

    def message(self, text: str) -> None:
        self._whole.message(text)

    def warn(self, text: str) -> None:
        self._whole.warn(text)
