"""Dates in names, descriptions and TIMES become decimal years."""

from __future__ import annotations

import csv
from datetime import date, datetime

import pytest
from rasterml.engine.dates import ImageTime, decimal_year, image_times, time_from_text, time_in_name
from rasterml.engine.errors import SettingError


def test_the_tura_series_has_the_decimal_years_of_its_own_table(shared):
    with (shared / "data" / "tura_ndvi" / "dates.csv").open() as file:
        rows = list(csv.DictReader(file))

    assert len(rows) == 166
    for row in rows:
        assert time_in_name(f"{row['scene']}_{row['date']}") == pytest.approx(float(row["decimal_year"]), abs=5.1e-5)


def test_a_year_begins_at_its_number_and_a_leap_year_ends_within_it():
    assert decimal_year(date(2000, 1, 1)) == 2000
    assert decimal_year(date(2000, 3, 1)) == 2000 + 60 / 365.25
    assert decimal_year(date(2001, 3, 1)) == 2001 + 59 / 365.25
    assert decimal_year(date(2000, 12, 31)) == 2000 + 365 / 365.25
    assert decimal_year(datetime(2001, 1, 1, 18)) == 2001 + 0.75 / 365.25


@pytest.mark.parametrize(
    "text, found",
    [
        ("LE71700551999255AGS00_1999-09-12", date(1999, 9, 12)),
        ("TERRA_MODIS_012010_NDVI_2013-09-14", date(2013, 9, 14)),
        ("LC08_L1TP_193023_20190731_20190801_01_T1_B4", date(2019, 7, 31)),
        ("S2A_MSIL2A_20170105T013442_N0204", date(2017, 1, 5)),
        ("ndvi_2016_02_29", date(2016, 2, 29)),
        ("2019.07.31", date(2019, 7, 31)),
        ("2018.0575", 2018.0575),
        (" 1999 ", 1999.0),
        ("ndvi_2015_02_29", None),  # no leap year
        ("20191331", None),
        ("99990101", None),
        ("scene_120190731", None),
        ("2019-07_31", None),
        ("ndvi_1999", None),
        ("7", None),
        ("", None),
    ],
)
def test_the_first_date_in_a_name_counts(text, found):
    expected = decimal_year(found) if isinstance(found, date) else found
    assert time_in_name(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2019-07-31", 2019 + 211 / 365.25),
        ("2019-01-02T12:00:00Z", 2019 + 1.5 / 365.25),
        ("20190731", 2019 + 211 / 365.25),
        ("20199931", 20199931.0),
        ("-3.5", -3.5),
        ("2_019", None),
        ("July", None),
        ("inf", None),
    ],
)
def test_a_time_is_a_number_or_an_iso_date(text, expected):
    assert time_from_text(text) == expected


def test_times_go_before_ranges_and_ranges_before_names():
    texts = [[("file name", "a_20190101"), ("band description", "b")], [("file name", "b"), ("x", "2020-01-01")]]

    assert image_times("5, 2001-01-01", [1.0, 2.0], texts) == [(5.0, "TIMES"), (2001.0, "TIMES")]
    assert image_times("", [1990.5, None], texts) == [(1990.5, "temporal range"), (2020.0, "x")]
    assert image_times(" ", [None, None], texts) == [ImageTime(2019.0, "file name"), ImageTime(2020.0, "x")]


def test_without_any_date_times_are_the_order():
    assert image_times("", [None] * 3, [[("file name", "a")]] * 3) == [(0, "order"), (1, "order"), (2, "order")]


def test_a_time_of_zero_counts_as_given():
    assert image_times("", [0.0, 1.0], [[], []]) == [(0.0, "temporal range"), (1.0, "temporal range")]


@pytest.mark.parametrize(
    "given, message",
    [
        ("1,2,3", "TIMES has 3 entries for 2 images: give one for each, in their order."),
        ("1,x", "TIMES has 'x' as entry 2: give a number or a date such as 2019-07-31."),
        ("", r"Image 2 \(late\) has no date, but others have: give TIMES for all."),
    ],
)
def test_times_that_do_not_fit_are_refused(given, message):
    with pytest.raises(SettingError, match=f"^{message}$"):
        image_times(given, [None, None], [[("file name", "20190101")], [("file name", "late")]])
