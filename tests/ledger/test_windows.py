"""Days and months where the user lives, and what becomes of them when the clock jumps."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.ledger.windows import Calendar, day_that_counts, span, spans

BERLIN, APIA, HAVANA = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Apia"), ZoneInfo("America/Havana")


def at(text: str, zone: ZoneInfo) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def test_a_day_is_that_of_the_zone() -> None:
    moment = datetime(2026, 11, 23, 23, 30, tzinfo=UTC).timestamp()
    assert Calendar(ZoneInfo("UTC")).day(moment) == "2026-11-23"
    assert Calendar(BERLIN).day(moment) == "2026-11-24"
    assert Calendar(ZoneInfo("America/New_York")).day(moment) == "2026-11-23"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one zone")
def test_without_a_zone_the_system_s_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 23, 23, 30, tzinfo=UTC).timestamp()
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        calendar = Calendar()
        assert calendar.day(moment) == "2026-11-24"
        assert calendar.resets_at("day", "2026-11-24") == at("2026-11-25", ZoneInfo("Pacific/Auckland"))
    finally:
        monkeypatch.undo()
        time.tzset()
        assert "TZ" not in os.environ or os.environ["TZ"] != "Pacific/Auckland"


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-23", 24)], ids=["spring", "autumn", "usual"]
)
def test_days_of_daylight_saving_are_whole(day: str, hours: int) -> None:
    calendar, begins = Calendar(BERLIN), at(day, BERLIN)
    ends = calendar.resets_at("day", day)
    assert ends is not None
    assert (ends - begins) / 3600 == hours
    assert {calendar.day(begins + second) for second in range(0, hours * 3600, 600)} == {day}
    assert calendar.day(ends) > day


def test_a_day_that_begins_at_one_o_clock() -> None:
    """In Havana the clock goes from midnight to one in spring."""
    calendar = Calendar(HAVANA)
    begins = calendar.resets_at("day", "2026-03-07")
    assert begins is not None
    assert (calendar.day(begins - 1), calendar.day(begins)) == ("2026-03-07", "2026-03-08")


def test_a_day_that_never_was() -> None:
    """Samoa had no 30 December 2011."""
    calendar = Calendar(APIA)
    last = at("2011-12-29T23:59:59", APIA)
    assert (calendar.day(last), calendar.day(last + 1)) == ("2011-12-29", "2011-12-31")


def test_when_a_window_ends() -> None:
    calendar = Calendar(BERLIN)
    assert calendar.resets_at("total", "2026-11-23") is None
    assert calendar.resets_at("month", "2026-11-23") == at("2026-12-01", BERLIN)
    assert calendar.resets_at("month", "2026-12-31") == at("2027-01-01", BERLIN)
    assert calendar.resets_at("month", "2024-02-29") == at("2024-03-01", BERLIN)


def test_the_windows_of_a_day() -> None:
    assert spans("2026-11-23") == ("", "2026-11", "2026-11-23")
    assert [span(period, "2026-11-23") for period in ("total", "month", "day")] == ["", "2026-11", "2026-11-23"]


@pytest.mark.parametrize(
    ("latest", "today", "counts"),
    [
        ("", "2026-11-23", "2026-11-23"),
        ("2026-11-23", "2026-11-23", "2026-11-23"),
        ("2026-11-23", "2026-11-24", "2026-11-24"),
        ("2026-11-23", "2036-11-23", "2036-11-23"),
        ("2026-11-23", "2026-11-22", "2026-11-23"),
        ("2026-12-01", "2026-11-29", "2026-12-01"),
        ("2026-11-23", "2026-11-20", "2026-11-20"),
        ("2036-11-23", "2026-11-23", "2026-11-23"),
    ],
    ids=["first", "same", "next", "ten years on", "a day back", "into last month", "three days back", "ten years back"],
)
def test_windows_do_not_go_back_by_a_little(latest: str, today: str, counts: str) -> None:
    assert day_that_counts(latest, today) == counts


zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "Pacific/Apia", "America/Havana", "Asia/Kathmandu", "Antarctica/Troll"]
)
moments = st.floats(0, 2e9)


@given(zones, st.lists(moments, min_size=1, max_size=20))
def test_it_remembers_nothing_wrong(zone: str, asked: list[float]) -> None:
    """One calendar that is asked again and again tells what a new one tells, and what the library tells."""
    calendar = Calendar(ZoneInfo(zone))
    for moment in [*asked, *(each + 1800 for each in asked), *asked]:
        told = calendar.day(moment)
        assert told == datetime.fromtimestamp(moment, ZoneInfo(zone)).date().isoformat()
        ends = calendar.resets_at("day", told)
        assert ends is not None
        assert moment < ends <= moment + timedelta(hours=49).total_seconds()
