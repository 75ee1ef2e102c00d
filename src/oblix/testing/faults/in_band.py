"""Errors that come inside of a good answer, after its status line promised success."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oblix.errors import FailureKind as K
from oblix.testing.faults import words
from oblix.testing.faults.exchange import Exchange, Moment
from oblix.testing.faults.kind import AFTER, BEFORE, Failures, Kind, failures, wires
from oblix.testing.faults.wire_http import whole
from oblix.testing.faults.wires import ALL_WIRES, ErrorWords, Wire


def _say(said: ErrorWords) -> Callable[[Exchange], None]:
    def act(x: Exchange) -> None:
        x.error(said)

    return act


def _then_done(x: Exchange) -> None:
    """As gateways do that close every stream in the same way, whatever happened."""
    x.body(x.wire.event(x.wire.error(words.SERVER), "error"))
    x.prove()


def _raw(data: bytes) -> Callable[[Exchange], None]:
    def act(x: Exchange) -> None:
        x.body(x.wire.event(data))
        x.end()

    return act


def _error_body(x: Exchange) -> None:
    x.send(whole(200, x.wire.error(words.SERVER)))


def _row(
    name: str,
    about: str,
    act: Callable[[Exchange], None],
    right: Failures,
    *,
    only: frozenset[Wire] = ALL_WIRES,
    by_wire: Mapping[Wire, Failures] | None = None,
    moments: frozenset[Moment] = AFTER,
) -> Kind:
    return Kind(name, "in_band", about, act, moments=moments, wires=only, failures=right, by_wire=by_wire or {})


_CLOUD = wires("openai", "claude")
_FAILED = failures(K.SERVER_ERROR)
_BUSY = failures(K.OVERLOADED, K.SERVER_ERROR)

KINDS = (
    _row(
        "error_overloaded",
        "Overloaded.",
        _say(words.OVERLOADED),
        failures(K.OVERLOADED),
        by_wire={"openai": _BUSY, "ollama": _BUSY},  # they have words for it, no type
    ),
    _row("error_rate", "A rate limit.", _say(words.RATE), failures(K.RATE_LIMITED), only=_CLOUD),
    _row("error_quota", "The money is spent.", _say(words.USAGE_LIMIT), failures(K.QUOTA_EXHAUSTED)),
    _row("error_server", "The server failed.", _say(words.SERVER), _FAILED),
    _row("error_context", "The window is full.", _say(words.CONTEXT), failures(K.CONTEXT_OVERFLOW)),
    _row("error_filter", "The answer is blocked.", _say(words.FILTERED), failures(K.CONTENT_FILTER), only=_CLOUD),
    _row("error_auth", "The key was withdrawn.", _say(words.AUTH), failures(K.AUTH), only=_CLOUD),
    _row(
        "error_runner",
        "The engine's process has died.",
        _say(words.RUNNER_DIED),
        failures(K.ENGINE_CRASH, K.SERVER_ERROR),
        only=wires("ollama"),
    ),
    _row("error_then_done", "An error, and then the proof of completion all the same.", _then_done, _FAILED),
    _row(
        "error_code_502",
        "An error whose code is a status, as routers send it.",
        _raw(b'{"error":{"code":502,"message":"Provider returned error"}}'),
        _FAILED,
        only=wires("openai"),
    ),
    _row(
        "error_bare",
        "An error in bare words.",
        _raw(b'{"error":"something went wrong"}'),
        _FAILED,
        only=wires("openai"),
    ),
    _row(
        "error_body",
        "Status 200, and an error as the whole body.",
        _error_body,
        failures(K.SERVER_ERROR, K.PROTOCOL),
        moments=BEFORE,
    ),
)
