"""Dates as decimal years, and the dates that names and descriptions hold.

A decimal year is year + (day of year − 1) / 365.25, as in the time series that R and Landsat tools write: the first of
January is the year itself, and a step of a day is the same in every year.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Iterator, NamedTuple, Sequence

from .errors import SettingError
from .numerals import as_number

DAYS_IN_A_YEAR = 365.25
FIRST_YEAR, LAST_YEAR = 1800, 2200  # eight digits outside are no date
_ISO = re.compile(r"(?<!\d)(\d{4})([-_./])(\d{2})\2(\d{2})(?!\d)")
_COMPACT = re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)")


class ImageTime(NamedTuple):
    """The time of an image, and where it was found."""

    time: float
    source: str


def decimal_year(moment: date) -> float:
    """Return a date, or a datetime with the share of its day, as decimal year; its time zone does not count."""
    days = float(moment.timetuple().tm_yday - 1)
    if isinstance(moment, datetime):
        days += (moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6) / 86_400
    return moment.year + days / DAYS_IN_A_YEAR


def time_from_text(text: str) -> float | None:
    """Return the time that *text* is: a number as it is, an ISO date (and time) as decimal year; None for neither.

    Eight digits that are a date, such as 20190731, are one (ISO's basic format).
    """
    text = text.strip()
    compact = _COMPACT.fullmatch(text)
    if compact:
        day = _date(*compact.groups())
        if day:
            return decimal_year(day)
    number = as_number(text)
    if number is not None:
        return number
    try:
        moment = datetime.fromisoformat(re.sub("[Zz]$", "", text))
    except ValueError:
        return None
    return decimal_year(moment)


def time_in_name(text: str) -> float | None:
    """Return the decimal year of the first date in *text*, as 2019-07-31 (or with _ . /) or 20190731; else None.

    A text that is nothing but a number from 1800 to 2200 is a (decimal) year.
    """
    days = sorted(_dates(text))
    if days:
        return decimal_year(days[0][1])
    number = as_number(text.strip())
    return number if number is not None and FIRST_YEAR <= number <= LAST_YEAR else None


def image_times(
    given: str, ranges: Sequence[float | None], texts: Sequence[Sequence[tuple[str, str]]]
) -> list[ImageTime]:
    """Return each image's time and where it comes from.

    From *given* (TIMES: a number or date per image, comma-separated); without it from *ranges* (the decimal year in
    which each layer's temporal range begins) or the first of its *texts* (source, text) that holds a date; where no
    image has any, 0, 1, 2, ...  Raises `SettingError` when TIMES does not fit or only some images have a time.
    """
    if given.strip():
        return [ImageTime(time, "TIMES") for time in _listed(given, len(texts))]
    found = [_image_time(start, candidates) for start, candidates in zip(ranges, texts)]
    if not any(found):
        return [ImageTime(float(number), "order") for number in range(len(found))]
    for number, (time, candidates) in enumerate(zip(found, texts), 1):
        if time is None:
            name = next((text for _, text in candidates if text), "no name")
            raise SettingError(f"Image {number} ({name}) has no date, but others have: give TIMES for all.")
    return [time for time in found if time]


def _image_time(start: float | None, texts: Sequence[tuple[str, str]]) -> ImageTime | None:
    if start is not None:
        return ImageTime(start, "temporal range")
    for source, text in texts:
        time = time_in_name(text)
        if time is not None:
            return ImageTime(time, source)
    return None


def _listed(text: str, images: int) -> list[float]:
    """Return the times that TIMES gives, one per image."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != images:
        raise SettingError(f"TIMES has {len(parts)} entries for {images} images: give one for each, in their order.")
    times = []
    for number, part in enumerate(parts, 1):
        time = time_from_text(part)
        if time is None:
            raise SettingError(f"TIMES has {part!r} as entry {number}: give a number or a date such as 2019-07-31.")
        times.append(time)
    return times


def _dates(text: str) -> Iterator[tuple[int, date]]:
    """Yield where each date in *text* stands, and the date."""
    for match in _ISO.finditer(text):
        year, _, month, day = match.groups()
        found = _date(year, month, day)
        if found:
            yield match.start(), found
    for match in _COMPACT.finditer(text):
        found = _date(*match.groups())
        if found:
            yield match.start(), found


def _date(year: str, month: str, day: str) -> date | None:
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found if FIRST_YEAR <= found.year <= LAST_YEAR else None
