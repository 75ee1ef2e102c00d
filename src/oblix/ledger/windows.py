"""Days and months in the user's time zone, and what happens to them when the clock jumps. Pure."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo

from oblix.types.money import Period

HOUR = 3600.0
# A clock that is set back by less opens no window again: time zones differ by 26 hours at most.
# One that is set back by more was wrong before.
MOST_BACK = timedelta(days=2)


class Calendar:
    """Which day it is, where the user lives.

    Args:
        zone: `None` is the system's own zone.
    """

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._zone = zone
        self._day = ""
        self._from = self._until = 0.0

    def day(self, now: float) -> str:
        """The day (`2026-11-23`) of a moment in seconds since the epoch."""
        if not self._from <= now < self._until:
            today = datetime.fromtimestamp(now, self._zone).date()
            self._day = today.isoformat()
            # A zone may change between our reckoning of midnight and now (daylight saving, a journey): then the hour is looked at alone.
            starts, ends = self._midnight(today), self._midnight(today + timedelta(days=1))
            self._from, self._until = (starts, min(ends, now + HOUR)) if starts <= now < ends else (now, now)
        return self._day

    def resets_at(self, period: Period, day: str) -> float | None:
        """Seconds since the epoch at which the window after that of `day` begins; `None` for one that never ends."""
        today = date.fromisoformat(day)
        if period == "total":
            return None
        if period == "day":
            return self._midnight(today + timedelta(days=1))
        return self._midnight((today.replace(day=28) + timedelta(days=4)).replace(day=1))

    def _midnight(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()


def day_that_counts(latest: str, today: str) -> str:
    """The day that money spent now counts to.

    Args:
        latest: The latest one that anything was counted to; empty before the first.
        today: By the clock.
    """
    if latest > today and date.fromisoformat(latest) - date.fromisoformat(today) <= MOST_BACK:
        return latest
    return today


def span(period: Period, day: str) -> str:
    """The window of a period that a day lies in, as the books name it: `2026-11-23`, `2026-11`, or empty for all time."""
    return {"total": "", "month": day[:7], "day": day}[period]


def spans(day: str) -> tuple[str, str, str]:
    """The windows that a day lies in: all time, its month, itself."""
    return "", day[:7], day
