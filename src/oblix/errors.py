"""Everything that can go wrong, as one family.

::

    OblixError
    ├── InvalidRequest          a wish or an argument that cannot be honoured (also a ValueError)
    ├── ConfigurationError      a setting, a file or an extra that is missing or wrong (also a ValueError)
    ├── UnknownModel            the model asked for is not hooked
    ├── NoRoute                 no hooked model may answer
    │   ├── Vetoed              an agent refused the request
    │   ├── PrivacyViolation    a private prompt has no model at home that may answer
    │   ├── ContextOverflow     the prompt does not fit the window of any allowed model
    │   ├── BudgetExceeded      a cost limit or a budget excludes every model
    │   └── KeyMissing          what could answer needs a key that was not given, or was refused
    ├── AllModelsFailed         every allowed model was tried and failed
    ├── DeadlineExceeded        the call ran into its deadline (also a TimeoutError)
    ├── StreamBroken            a stream failed after its first token
    └── AttemptFailed           one attempt on one model failed; `kind` says how

Users meet all but the last, which is told inside `.attempts`. Each has `.code` (stable, for programs), `.hint` (what to do next),
`.decision`, `.attempts`, `.request_id` and `.cause` (the foreign exception, where there was one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oblix.types.attempt import Attempt
    from oblix.types.decision import Decision
    from oblix.types.failure import Certainty
    from oblix.types.money import Room


class FailureKind(StrEnum):
    """How one attempt failed: a closed set, to which every foreign exception and in-band error is mapped."""

    LOCAL_NETWORK = "local_network"  # no route, interface down: nothing of ours gets out
    DNS = "dns"
    TLS = "tls"
    CONNECT = "connect"  # refused or reset before the request was accepted
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_LOAD = "timeout_load"  # the model was not in memory in time
    TIMEOUT_FIRST_TOKEN = "timeout_first_token"  # noqa: S105  a name, no password
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    AUTH = "auth"
    MODEL_MISSING = "model_missing"
    MODEL_UNLOADABLE = "model_unloadable"  # the weights are there, but cannot be loaded
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"
    PROTOCOL = "protocol"  # the peer does not speak the protocol it should
    TRUNCATED = "truncated"  # the answer ended without the proof of completion
    ENGINE_CRASH = "engine_crash"
    CANCELLED = "cancelled"
    POLICY = "policy"  # the egress guard refused the address
    BUDGET = "budget"  # a budget has no room for it
    LEDGER = "ledger"  # what it costs cannot be written down
    INTERNAL = "internal"


class OblixError(Exception):
    """The root of the family. `str()` gives the message, then the hint on a line of its own."""

    code = "OBX-ERROR"
    exit_code = 1  # what the command line ends with (contract.md, exit codes)

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        decision: Decision | None = None,
        attempts: Sequence[Attempt] = (),
        request_id: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.decision = decision
        self.attempts = tuple(attempts)
        self.request_id = request_id
        self.cause = cause

    def __str__(self) -> str:
        head = f"{self.message} [{self.code}]"
        return f"{head}\nhint: {self.hint}" if self.hint else head

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with .args only and lose everything but the message.
        return (_rebuild, (type(self), self.message, {k: v for k, v in self.__dict__.items() if k != "cause"}))


def _rebuild(kind: type[OblixError], message: str, state: dict[str, object]) -> OblixError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update({"cause": None, **state})
    return error


class InvalidRequest(OblixError, ValueError):
    """A wish or an argument that cannot be honoured. Nothing was sent."""

    code = "OBX-INVALID"
    exit_code = 2


class ConfigurationError(OblixError, ValueError):
    """A setting, a file or an extra is missing or wrong. Nothing was sent."""

    code = "OBX-CONFIG"
    exit_code = 2


class UnknownModel(OblixError):
    """The model asked for is not hooked. Nothing was sent."""

    code = "OBX-UNKNOWN-MODEL"
    exit_code = 2


class NoRoute(OblixError):
    """No hooked model may answer this request. Nothing was sent."""

    code = "OBX-NO-ROUTE"
    exit_code = 3


class Vetoed(NoRoute):
    """An agent answered `proceed=False`. Nothing was sent."""

    code = "OBX-VETOED"


class PrivacyViolation(NoRoute):
    """A private prompt has no edge model that may answer it. Nothing left this machine."""

    code = "OBX-PRIVATE"


class ContextOverflow(NoRoute):
    """The prompt does not fit any allowed model; `tokens` and `window` (tokens) tell by how much."""

    code = "OBX-CONTEXT"
    tokens: int | None = None
    window: int | None = None


class BudgetExceeded(NoRoute):
    """A cost limit or a budget excludes every model that may answer; `room` is what the tightest budget left. Nothing was sent."""

    code = "OBX-BUDGET"
    exit_code = 5
    room: Room | None = None


class KeyMissing(NoRoute):
    """The only models that could answer need a key that was not given or was refused."""

    code = "OBX-KEY"
    exit_code = 4


class AllModelsFailed(OblixError):
    """Every model of the plan was tried; `.attempts` tells the whole story."""

    code = "OBX-ALL-FAILED"


class DeadlineExceeded(OblixError, TimeoutError):
    """The whole call took longer than its deadline (seconds); `text` is what had come of the answer."""

    code = "OBX-DEADLINE"
    text: str = ""


class StreamBroken(OblixError):
    """A stream failed after its first token; `text` is what had arrived, `kind` how it failed."""

    code = "OBX-STREAM-BROKEN"
    text: str = ""
    kind: FailureKind = FailureKind.INTERNAL


class AttemptFailed(OblixError):
    """One attempt on one model failed.

    Attributes:
        kind: The closed classification, which decides what happens next.
        status: HTTP status code, where there was one.
        retry_after: Seconds that the peer asked us to wait, where it did.
        tokens: Of a prompt that does not fit, as far as they are known.
        window: Tokens that would fit.
        is_void: What it said before it failed is no beginning of an answer: it had not read the whole prompt.
        certainty: What the peer can know of the attempt, where this one differs from others of its kind.
        is_told_by_peer: The message holds words of the peer's, which may quote the prompt.
        room: What the budget left that had no room for it.
    """

    code = "OBX-ATTEMPT"

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint=hint, cause=cause)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.tokens: int | None = None
        self.window: int | None = None
        self.is_void = False
        self.certainty: Certainty | None = None
        self.is_told_by_peer = False
        self.room: Room | None = None


def known_hint(word: str, known: Iterable[str], *, heading: str = "Known", closeness: float = 0.6) -> str:
    """`Did you mean 'x'? Known: x, y.`: what to do about a word that is none of the known ones.

    Args:
        closeness: How alike the nearest must be, in [0, 1].
    """
    from difflib import get_close_matches  # takes 3 ms to import

    names = list(known)
    near = get_close_matches(word, names, 1, closeness)
    return (f"Did you mean {near[0]!r}? " if near else "") + f"{heading}: {', '.join(names) or 'none'}."
