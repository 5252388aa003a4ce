"""A gauge: how far one of Earth Engine's caps is used, as a bar, a word, figures and advice."""

from __future__ import annotations

from qgis.PyQt.QtCore import QRectF, QSize, Qt
from qgis.PyQt.QtGui import QColor, QPainter, QPalette
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from ..engine.limits import NEAR, NEARLY, OK, OVER, Gauge

# state: its colour, and a colour for text on it; both pairs have a contrast of 4.5 : 1 or more
STATE_COLOURS = {OK: ("#237a45", "#ffffff"), NEARLY: ("#f0ad1f", "#1c1c1c"), OVER: ("#b3261e", "#ffffff")}
STRIPE = 3  # pixels


class Bar(QWidget):
    """The used share of a cap, with a notch at 80 %."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._share = 0.0
        self._state = OK
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_share(self, share: float, state: str) -> None:
        self._share, self._state = share, state
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(120, max(8, self.fontMetrics().height() * 2 // 3))

    def minimumSizeHint(self) -> QSize:
        return QSize(40, self.sizeHint().height())

    def paintEvent(self, event) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        radius = whole.height() / 3
        groove = self.palette().color(QPalette.ColorRole.WindowText)
        groove.setAlpha(45)
        painter.setBrush(groove)
        painter.drawRoundedRect(whole, radius, radius)
        if self._share > 0:
            used = QRectF(whole)
            used.setWidth(max(2.0, whole.width() * min(1.0, self._share)))
            painter.setClipRect(used)
            painter.setBrush(QColor(STATE_COLOURS[self._state][0]))
            painter.drawRoundedRect(whole, radius, radius)
            painter.setClipping(False)
        notch = self.palette().color(QPalette.ColorRole.WindowText)
        notch.setAlpha(150)
        painter.setBrush(notch)
        painter.drawRect(QRectF(whole.left() + NEAR * whole.width(), whole.top(), 1.5, whole.height()))
        painter.end()


class GaugeView(QWidget):
    """Title and verdict, the bar, the figures, and the advice when there is any."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[Gauge | None, str] = (None, "")
        self._plain_title = title
        self._title, self._verdict = QLabel(), QLabel()
        self._bar = Bar(self)
        self._figures, self._advice = QLabel(), QLabel()
        self._lay_out()
        self._show_nothing("")

    @property
    def gauge(self) -> Gauge | None:
        """The gauge on show."""
        return self._shown[0]

    def show_measure(self, gauge: Gauge | None, text: str) -> None:
        """Show *gauge* with *text* as its tool tip; without a gauge, *text* says what would fill it."""
        if (gauge, text) == self._shown:  # asked for twice a second
            return
        self._shown = (gauge, text)
        if gauge is None:
            self._show_nothing(text)
        else:
            self._show_gauge(gauge, text)

    def _show_gauge(self, gauge: Gauge, details: str) -> None:
        self.setToolTip(details)
        words = {OK: self.tr("OK"), NEARLY: self.tr("near the cap"), OVER: self.tr("over the cap")}
        colour, text_colour = STATE_COLOURS[gauge.state]
        self._verdict.setText(words[gauge.state])
        self._verdict.setStyleSheet(
            f"QLabel {{ background: {colour}; color: {text_colour}; border-radius: 3px; padding: 1px 6px; }}"
        )
        self._show(gauge.title, gauge.figures, gauge.advice)
        self._bar.show_share(gauge.share, gauge.state)
        self.setAccessibleDescription(f"{words[gauge.state]}. {gauge.figures}. {gauge.advice}")

    def paintEvent(self, event) -> None:
        """Draw a stripe in the colour of the state beside the advice."""
        if self.gauge is not None and self._advice.isVisible():
            place = self._advice.geometry()
            place.setWidth(STRIPE)
            painter = QPainter(self)
            painter.fillRect(place, QColor(STATE_COLOURS[self.gauge.state][0]))
            painter.end()

    def _show_nothing(self, reason: str) -> None:
        self.setToolTip("")
        self._verdict.clear()
        self._show(self._plain_title, reason, "")
        self._bar.show_share(0, OK)
        self.setAccessibleDescription(reason)

    def _show(self, title: str, figures: str, advice: str) -> None:
        self._title.setText(title)
        self.setAccessibleName(title)
        self._figures.setText(figures)
        self._advice.setText(advice)
        self._advice.setVisible(bool(advice))
        self._verdict.setVisible(bool(self._verdict.text()))

    def _lay_out(self) -> None:
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        for label in (self._title, self._figures, self._advice):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setWordWrap(True)
            label.setMinimumWidth(1)
        for label in (self._figures, self._advice):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._advice.setContentsMargins(3 * STRIPE, 0, 0, 0)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(self._verdict, 0, Qt.AlignmentFlag.AlignTop)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(3)
        whole.addLayout(head)
        for widget in (self._bar, self._figures, self._advice):
            whole.addWidget(widget)
