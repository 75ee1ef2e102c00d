"""How long a peer asks us to wait, in every form that is in use: pure.

Sources: RFC 9110 (`Retry-After`, and the three forms of a date in section 5.6.7), the rate-limit headers of OpenAI, Anthropic, Groq and
Cerebras, Google's `RetryInfo`, and the sentences of their error texts (their API references, 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite

LONGEST = 86_400.0  # seconds; who asks for more than a day is asked again after one

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_SPAN = r"(?:[0-9]+(?:\.[0-9]*)?\s?(?:ms|[smhd]|milliseconds?|seconds?|secs?|minutes?|mins?|hours?|days?)\b\s?|[0-9]+[hm](?=[0-9])){1,4}"
_SPANS = re.compile(_SPAN)
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s?(ms|milli|[smhd])")
_UNITS = {"ms": 1e-3, "milli": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = (
    # Sun, 06 Nov 1994 08:49:37 GMT, and with hyphens and two digits of the year (RFC 850)
    re.compile(rf"\w{{3,9}}, (?P<day>[0-9]{{1,2}})[ -](?P<month>\w{{3}})[ -](?P<year>[0-9]{{2,4}}) {_CLOCK} (GMT|UTC)"),
    # Sun Nov  6 08:49:37 1994
    re.compile(rf"\w{{3}} (?P<month>\w{{3}}) +(?P<day>[0-9]{{1,2}}) {_CLOCK} (?P<year>[0-9]{{4}})"),
)
_IN_TEXT = (
    re.compile(rf'"retrydelay"\s?:\s?"(?P<span>{_SPAN})"'),  # google.rpc.RetryInfo
    re.compile(rf"(?:try again|retry)\s(?:in|after)\s(?P<span>{_SPAN})"),  # OpenAI, Groq, Azure, Gemini
)
_REGAIN = re.compile(r"regain access on ([0-9]{4}-[0-9]{2}-[0-9]{2})(?: at ([0-9]{2}:[0-9]{2}) utc)?")  # Anthropic


def retry_after(headers: Mapping[str, str], text: str, now: float) -> float | None:
    """Seconds to wait: not below 0, a day at most; `None` when nothing is said that can be read.

    What was said of this very answer comes first; then the limits that are used up, of which the last to be lifted counts; the text last.

    Args:
        text: The answer's body.
        now: Seconds since the epoch, for what is said as a moment; `nan` when it is not known.
    """
    named = {name.lower(): value.strip() for name, value in headers.items()}
    milliseconds = _number(named.get("retry-after-ms", ""))
    said = [
        None if milliseconds is None else milliseconds / 1000,
        _wait(named.get("retry-after", ""), now),
        max(_used_up(named, now), default=None),
        _in_text(text.lower(), now),
    ]
    seconds = next((found for found in said if found is not None and isfinite(found)), None)
    return None if seconds is None else min(max(0.0, seconds), LONGEST)


def _used_up(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """When the limits of which nothing is left are lifted: `x-ratelimit-reset-tokens` and its like, in seconds from now."""
    for name, value in headers.items():
        if (
            "ratelimit" in name
            and "reset" in name
            and _number(headers.get(name.replace("reset", "remaining"), "")) == 0
        ):
            seconds = _wait(value, now)
            if seconds is not None and isfinite(seconds):
                yield seconds


def _in_text(text: str, now: float) -> float | None:
    found = next(filter(None, (pattern.search(text) for pattern in _IN_TEXT)), None)
    if found is not None:
        return _span(found["span"])
    regain = _REGAIN.search(text)
    return None if regain is None else _until(f"{regain[1]}T{regain[2] or '00:00'}", now)


def _wait(value: str, now: float) -> float | None:
    """A number of seconds, a moment as seconds or milliseconds since the epoch, a span (`6m0s`) or a date."""
    number = _number(value)
    if number is None:
        return _span(value) if _SPANS.fullmatch(value) else _until(value, now)
    # Above a billion it is a date of this century, no span: OpenRouter sends milliseconds since the epoch, others seconds.
    return number - now if 1e9 < number < 1e11 else number / 1000 - now if 1e12 < number < 1e14 else number


def _number(value: str) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None


def _span(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))


def _until(value: str, now: float) -> float | None:
    """Seconds from now to a date of HTTP or of RFC 3339."""
    found = next(filter(None, (pattern.fullmatch(value) for pattern in _DATES)), None)
    try:
        when = datetime.fromisoformat(value) if found is None else _http_date(found)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None


def _http_date(found: re.Match[str]) -> datetime:
    year = int(found["year"])
    return datetime(
        year + 2000 if year < 100 else year,  # of a wait, the century is clear
        _MONTHS.index(found["month"].lower()) + 1,
        int(found["day"]),
        int(found["hour"]),
        int(found["minute"]),
        min(int(found["second"]), 59),  # a leap second is none here
        tzinfo=UTC,
    )
