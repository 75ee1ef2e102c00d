"""How long to wait: every form that peers use, and none that they do not mean."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.models.retry_after import LONGEST, retry_after

NOW = 1_795_392_000.0  # Mon, 23 Nov 2026 00:00:00 GMT
GOOGLE = json.dumps(
    {"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "23s"}]}}, indent=1
)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("+7", 7.0),
        ("0.5", 0.5),
        ("1.", 1.0),
        ("-3", 0.0),
        ("3600", 3600.0),
        ("1000000", LONGEST),
        ("9" * 40, LONGEST),
        ("9" * 400, None),
        ("Mon, 23 Nov 2026 00:01:30 GMT", 90.0),
        ("Mon, 23 Nov 2026 00:01:30 UTC", 90.0),
        ("Monday, 23-Nov-26 00:01:30 GMT", 90.0),
        ("Mon Nov 23 00:01:30 2026", 90.0),
        ("Thu Dec  3 00:00:00 2026", LONGEST),
        ("Mon, 23 Nov 2026 00:00:60 GMT", 59.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("2026-11-23T00:00:20Z", 20.0),
        ("2026-11-23T01:00:20+01:00", 20.0),
        ("30s", 30.0),
        ("1m30s", 90.0),
        (str(int(NOW) + 12), 12.0),
        (str(int(NOW) * 1000 + 12_500), 12.5),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("1e3", None),
        ("1_000", None),
        ("٣", None),
        ("0x10", None),
        ("7, 8", None),
        ("Mon, 99 Nov 2026 00:01:30 GMT", None),
        ("Mon, 23 Nix 2026 00:01:30 GMT", None),
        ("Mon, 23 Nov 2026 25:01:30 GMT", None),
        ("Mon, 23 Nov 0000 00:00:00 GMT", 0.0),
        ("\udcff", None),
    ],
)
def test_the_header_in_all_its_forms(said: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": said}, "", NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "4"}, 4.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"Retry-After-Ms": "soon", "Retry-After": "9"}, 9.0),
        ({"retry-after": "soon", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.66s"}, 7.66),
        ({"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-reset-tokens-minute": "11.38"}, 11.38),
        ({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "later"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) * 1000 + 3000)}, 3.0),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-23T00:00:05Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-23T00:00:30Z",
                "anthropic-ratelimit-output-tokens-remaining": "900",
                "anthropic-ratelimit-output-tokens-reset": "2026-11-23T00:00:59Z",
            },
            30.0,
        ),
    ],
)
def test_headers_beside_each_other(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds before seconds before limits; a limit counts only when nothing is left of it."""
    assert retry_after(headers, "", NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (GOOGLE, 23.0),
        ('{"retryDelay": "0.847655010s"}', 0.847655010),
        ("Rate limit reached for gpt-x. Limit: 3 / min. Please try again in 20s. Contact us", 20.0),
        ("Please try again in 6.5s.", 6.5),
        ("Please try again in 1m30s.", 90.0),
        ("Please try again in 7m12.5s. Visit", 432.5),
        ("Please try again in 86ms.", 0.086),
        ("Please try again in 2 minutes", 120.0),
        ("Please try again in 500 milliseconds", 0.5),
        ("Please try again in 1 hour 5 mins", 3900.0),
        ("Please retry after 26 seconds.", 26.0),
        ("Please retry in 54.887s.", 54.887),
        ("You will regain access on 2026-11-23 at 06:00 UTC.", 21_600.0),
        ("You will regain access on 2026-12-01.", LONGEST),
        ("Please try again in a moment", None),
        ("Please try again in 5 apples", None),
        ("You have 20s left", None),
        ("", None),
    ],
)
def test_what_a_text_says(text: str, seconds: float | None) -> None:
    assert retry_after({}, text, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_a_header_is_believed_before_the_text() -> None:
    assert retry_after({"retry-after": "2"}, "Please try again in 20s", NOW) == 2.0


def test_without_a_clock_a_date_is_not_read_but_a_span_is() -> None:
    assert retry_after({"retry-after": "Mon, 23 Nov 2026 00:01:30 GMT"}, "", math.nan) is None
    assert retry_after({"retry-after": "5"}, "", math.nan) == 5.0


_WORDS = st.text(st.sampled_from("0123456789.:-+, smhdTZGMTunNov\x00é") | st.characters(), max_size=40)


@given(_WORDS, _WORDS, _WORDS)
def test_whatever_is_said_is_a_wait_within_a_day_or_nothing(header: str, limit: str, text: str) -> None:
    headers = {"retry-after": header, "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": limit}
    for words in (text, f"try again in {text}"):
        seconds = retry_after(headers, words, NOW)
        assert seconds is None or 0 <= seconds <= LONGEST


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("try again in " + "1m" * 30_000, 240.0), ("retry in " + "9" * 60_000, None), ('"retryDelay":"' * 4_000, None)],
    ids=["a span without end", "a number without end", "never a value"],
)
@pytest.mark.timeout(10)
def test_a_long_text_is_read_in_linear_time(text: str, seconds: float | None) -> None:
    """What a peer may send in 64 KiB: almost a span, again and again."""
    assert retry_after({}, text, NOW) == seconds
