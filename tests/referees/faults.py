"""What `llmock` is told to do, and what a client that can be trusted makes of it: data."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from itertools import product
from typing import Any, Literal

from oblix.errors import FailureKind

K = FailureKind
Wire = Literal["openai", "claude"]
Mode = Literal["buffered", "streamed", "restarting"]
Site = Literal["plain", "small", "busy", "wild"]
Moment = Literal["before", "middle", "never"]

WIRES: tuple[Wire, ...] = ("openai", "claude")
MODES: tuple[Mode, ...] = ("buffered", "streamed", "restarting")

# Which chunk of llmock's answer is the first with text is known from its `streaming.py`: OpenAI's second, Anthropic's fourth. The words of
# the answer are twelve, so that the seventh chunk is in the middle of the text for both.
_FIRST, _MIDDLE = 1, 6
_LAST: dict[Wire, int] = {"openai": 14, "claude": 17}  # the finish reason has been said, the proof of the end has not
QUOTA = 20  # requests per minute and key at the site "busy": one more is told to wait for 3 s
WINDOW = 64  # tokens at the site "small"
_STALL = 45.0  # seconds; longer than a cloud model may be silent between two tokens (execution/timers.py)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail.

    Attributes:
        behaviours: In the words of llmock's control interface; the model's name is added.
        kinds: How the attempt may be recorded; none where nothing fails, or where chance or order decides (`wild`, `busy`).
        moment: Whether text has been delivered when it happens; `never`: the caller has to get the answer, with or without another model.
        lasting: It happens to every attempt, so that without another model there is no answer.
        deadline: Seconds that the caller gives.
        is_late: Without another model the caller's deadline passes.
        with_tool: The request offers a tool, and the answer is a call of it.
        long_prompt: The prompt is longer than the window of the site.
        at_once: So many prompts are sent at the same time, by one client and with one key.
    """

    name: str
    behaviours: tuple[dict[str, Any], ...]
    kinds: tuple[FailureKind, ...]
    _: KW_ONLY
    moment: Moment = "before"
    lasting: bool = False
    site: Site = "plain"
    deadline: float = 120.0
    is_late: bool = False
    with_tool: bool = False
    long_prompt: bool = False
    at_once: int = 1


def _status(status: int, kind: FailureKind, name: str = "", *, times: int | None = 1, **more: Any) -> Fault:
    behaviour = {"type": "fail", "status": status, "times": times, **more}
    label = name or (f"{status} once" if times else f"{status} always")
    # A body of the type `server_error` may speak louder than the status: both are told right.
    kinds = (kind, K.SERVER_ERROR) if kind is K.OVERLOADED else (kind,)
    return Fault(label, (behaviour,), kinds, lasting=times is None)


def _stream(
    what: str,
    at: int,
    kind: FailureKind | tuple[FailureKind, ...],
    name: str,
    *,
    moment: Moment = "before",
    times: int | None = 1,
    **facts: Any,
) -> Fault:
    behaviour: dict[str, Any] = {"type": "stream_fault", "kind": what, "after_chunks": at, "times": times}
    if what == "stall":
        behaviour["stall_seconds"] = _STALL
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return Fault(f"{what} {name}", (behaviour,), kinds, moment=moment, lasting=times is None, **facts)


def faults(wire: Wire) -> tuple[Fault, ...]:
    """Every fault for one protocol."""
    too_long = "prompt is too long: 9000 tokens > 8000 maximum"
    return (
        _status(500, K.SERVER_ERROR),
        _status(502, K.SERVER_ERROR),
        _status(503, K.OVERLOADED),
        _status(503, K.OVERLOADED, times=None),
        _status(500, K.SERVER_ERROR, times=None),
        _status(502, K.SERVER_ERROR, times=None),
        _status(504, K.SERVER_ERROR),
        _status(529, K.OVERLOADED),
        _status(408, K.OVERLOADED),
        _status(429, K.RATE_LIMITED, "429, wait 0.3 s", retry_after=0.3),
        _status(429, K.RATE_LIMITED, "429 twice, wait 0.2 s", times=2, retry_after=0.2),
        _status(429, K.RATE_LIMITED, "429 always", times=None, retry_after=0.2),
        _status(429, K.RATE_LIMITED, "429, wait an hour", times=None, retry_after=3600),
        _status(429, K.QUOTA_EXHAUSTED, "429, out of credit", times=None, code="insufficient_quota"),
        _status(400, K.BAD_REQUEST, times=None),
        _status(401, K.AUTH, times=None),
        _status(403, K.AUTH, times=None),
        _status(404, K.MODEL_MISSING, times=None, code="model_not_found", message="no such model"),
        _status(422, K.BAD_REQUEST, times=None),
        _status(400, K.CONTEXT_OVERFLOW, "400, too long", times=None, message=too_long),
        Fault("window of the server", (), (K.CONTEXT_OVERFLOW,), lasting=True, site="small", long_prompt=True),
        *(
            fault
            for what, kind in (("disconnect", K.TRUNCATED), ("truncate", K.TRUNCATED), ("malformed", K.PROTOCOL))
            for fault in (
                _stream(what, 0, kind, "at once"),
                _stream(what, _FIRST, kind, "before text"),
                _stream(what, _MIDDLE, kind, "in text", moment="middle"),
                _stream(what, _LAST[wire], kind, "at the end", moment="middle"),
                _stream(what, _MIDDLE, kind, "in text, always", moment="middle", times=None),
            )
        ),
        _stream("stall", _MIDDLE, K.TIMEOUT_IDLE, "in text", moment="middle"),
        _stream("stall", 0, (K.TIMEOUT_TOTAL, K.TIMEOUT_FIRST_TOKEN), "past the deadline", deadline=2.0, is_late=True),
        Fault("slow first token", ({"type": "slow_first_token", "seconds": 2.0},), (), moment="never"),
        Fault("slow answer", ({"type": "delay", "seconds": 1.5},), (), moment="never"),
        *(_stream(what, 7, K.TRUNCATED, "in a tool call", with_tool=True) for what in ("disconnect", "truncate")),
        Fault("quota", (), (), moment="never", site="busy", at_once=QUOTA + 1),
        *(Fault(f"chance {number}", (), (), site="wild") for number in range(8)),
    )


@dataclass(frozen=True, slots=True)
class Case:
    """One fault, met in one way."""

    number: int
    wire: Wire
    mode: Mode
    has_other: bool  # another model is hooked, of the other protocol
    fault: Fault

    @property
    def name(self) -> str:
        """The model's name, by which llmock tells the cases apart."""
        return f"case-{self.number}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.wire} {self.mode} {'with another' if self.has_other else 'alone'}: {self.fault.name}"


def cases() -> tuple[Case, ...]:
    """Every fault in every way."""
    ways = product(WIRES, MODES, (True, False))
    met = ((wire, mode, other, fault) for wire, mode, other in ways for fault in faults(wire))
    return tuple(Case(number, *way) for number, way in enumerate(met))
