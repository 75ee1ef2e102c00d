"""Faults that a status line tells: refusals, limits, overload, redirects."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import formatdate

from oblix.errors import FailureKind as K
from oblix.testing.faults import words
from oblix.testing.faults.exchange import Exchange
from oblix.testing.faults.kind import BEFORE, Failures, Kind, failures, wires
from oblix.testing.faults.wire_http import head, whole
from oblix.testing.faults.wires import ALL_WIRES, ErrorWords, Wire


def refuse(status: int, said: ErrorWords, **rows: str) -> Callable[[Exchange], None]:
    """An error answer in the protocol's words; `retry_after="7"` becomes a header."""

    def act(x: Exchange) -> None:
        x.send(whole(status, x.wire.error(said), **rows))

    return act


def _limited_until(x: Exchange) -> None:
    until = formatdate(time.time() + 30, usegmt=True)  # the wall clock, because the header names a date
    x.send(whole(429, x.wire.error(words.RATE), retry_after=until))


def _no_route(x: Exchange) -> None:
    x.send(whole(404, b"404 page not found", "text/plain"))


def _no_content(x: Exchange) -> None:
    x.send(head(204, {}))


def _partial(x: Exchange) -> None:
    x.begin(206)
    x.go_on()


def _page(status: int) -> Callable[[Exchange], None]:
    def act(x: Exchange) -> None:
        x.send(whole(status, b"<html><body><h1>%d</h1><hr>nginx</body></html>" % status, "text/html"))

    return act


def _redirect(status: int) -> Callable[[Exchange], None]:
    def act(x: Exchange) -> None:
        x.send(whole(status, b"", "text/html", location=x.trap() + x.request.path))

    return act


def _empty_error(x: Exchange) -> None:
    x.send(whole(500, b"", "application/json"))


def _row(
    name: str,
    about: str,
    act: Callable[[Exchange], None],
    right: Failures,
    *,
    only: frozenset[Wire] = ALL_WIRES,
    by_wire: Mapping[Wire, Failures] | None = None,
) -> Kind:
    return Kind(
        name,
        "status",
        about,
        act,
        moments=BEFORE,
        wires=only,
        failures=right,
        by_wire=by_wire or {},
        billed=frozenset(),
    )


_BUSY = failures(K.OVERLOADED, K.SERVER_ERROR)
_LIMIT = failures(K.RATE_LIMITED)
_SPENT = failures(K.QUOTA_EXHAUSTED)

KINDS = (
    _row("status_400", "The request is said to be wrong.", refuse(400, words.BAD_REQUEST), failures(K.BAD_REQUEST)),
    _row("status_401", "The key is refused.", refuse(401, words.AUTH), failures(K.AUTH)),
    _row("status_402", "A payment is due.", refuse(402, words.PAYMENT), _SPENT),
    _row("status_403", "The key may not do this.", refuse(403, words.FORBIDDEN), failures(K.AUTH)),
    _row("model_missing", "404 in the protocol's words.", refuse(404, words.MODEL_MISSING), failures(K.MODEL_MISSING)),
    _row("route_missing", "404 in plain words: another server listens there.", _no_route, failures(K.PROTOCOL)),
    _row("status_408", "The server lost patience with the request.", refuse(408, words.TIMEOUT), _BUSY),
    _row(
        "status_409",
        "A conflict with another request.",
        refuse(409, words.CONFLICT),
        failures(K.BAD_REQUEST, K.OVERLOADED, K.SERVER_ERROR),
    ),
    _row("status_413", "The body is too large.", refuse(413, words.TOO_LARGE), failures(K.CONTEXT_OVERFLOW)),
    _row("status_422", "The request cannot be followed.", refuse(422, words.UNPROCESSABLE), failures(K.BAD_REQUEST)),
    _row("context_400", "The prompt does not fit.", refuse(400, words.CONTEXT), failures(K.CONTEXT_OVERFLOW)),
    _row(
        "filter_400",
        "The prompt is blocked.",
        refuse(400, words.FILTERED),
        failures(K.CONTENT_FILTER),
        only=wires("openai", "claude"),
    ),
    _row("limit_bare", "429, and no word of how long.", refuse(429, words.RATE), _LIMIT),
    _row("limit_seconds", "429 with Retry-After in seconds.", refuse(429, words.RATE, retry_after="7"), _LIMIT),
    _row("limit_ms", "429 with the delay in milliseconds.", refuse(429, words.RATE, retry_after_ms="1500"), _LIMIT),
    _row("limit_date", "429 with Retry-After as a date.", _limited_until, _LIMIT),
    _row("limit_tomorrow", "429 with a delay of a day.", refuse(429, words.RATE, retry_after="86400"), _LIMIT),
    _row("limit_negative", "429 with a delay below zero.", refuse(429, words.RATE, retry_after="-5"), _LIMIT),
    _row("spend_limit", "429 that means the money, not the rate.", refuse(429, words.SPEND), _SPENT),
    _row("usage_limit", "400 that means the money.", refuse(400, words.USAGE_LIMIT), _SPENT),
    _row("status_500", "The server failed.", refuse(500, words.SERVER), failures(K.SERVER_ERROR)),
    _row("empty_500", "The server failed without a word.", _empty_error, failures(K.SERVER_ERROR)),
    _row("page_502", "A proxy's page: bad gateway.", _page(502), failures(K.SERVER_ERROR)),
    _row("status_502", "A gateway failed.", refuse(502, words.GATEWAY), failures(K.SERVER_ERROR)),
    _row("status_503", "The server is overloaded.", refuse(503, words.OVERLOADED), failures(K.OVERLOADED)),
    _row(
        "limit_503",
        "Overloaded, with Retry-After.",
        refuse(503, words.OVERLOADED, retry_after="2"),
        failures(K.OVERLOADED),
    ),
    _row("loading", "The model is being loaded.", refuse(503, words.LOADING), failures(K.OVERLOADED)),
    _row("page_504", "A proxy's page: gateway timeout.", _page(504), _BUSY),
    _row("status_529", "Anthropic's own status for overload.", refuse(529, words.OVERLOADED), failures(K.OVERLOADED)),
    _row(
        "unloadable",
        "The model does not fit into memory.",
        refuse(500, words.UNLOADABLE),
        failures(K.MODEL_UNLOADABLE, K.SERVER_ERROR),
        only=wires("ollama"),
    ),
    _row("status_204", "Success without a body.", _no_content, failures(K.PROTOCOL)),
    _row("status_206", "A whole answer that says it is a part.", _partial, failures(K.PROTOCOL)),
    _row("redirect_301", "A redirect to a stranger, who notes what comes.", _redirect(301), failures(K.PROTOCOL)),
    _row("redirect_307", "A redirect that wants the body sent again.", _redirect(307), failures(K.PROTOCOL)),
)
