"""Money in whole micro-USD: what is reserved for an attempt, what it came to, and what a budget leaves."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import ceil
from typing import Literal

from oblix.types.spec import Place, Price

# Tokens that may be on their way when a stream is stopped: 100 tokens a second for 0.3 s, a far round trip and a slow turn of our loop.
IN_FLIGHT = 32
# Tokens a second that the quickest services write (Groq and Cerebras tell 500 and more, 2026-11): what may lie unread for each second since
# we read last, because our loop was late or our reader slow.
QUICKEST = 500.0
# Tokens of an answer that every chat model can be told as its bound (the older GPT-4 Turbo and Claude 3 take no more, and refuse a larger
# number with status 400). What nobody bounds is told this much at most, unless it can be stopped in time.
EVERY_MODEL = 4096
OnLimit = Literal["edge-only", "ask", "stop"]
Period = Literal["total", "day", "month"]
Scope = Literal["all", "model", "tag", "key"]


def micro(usd: float) -> int:
    """USD in whole micro-USD, rounded up: the books never hold less than a bill. What binary fractions add is not rounded up."""
    return ceil(round(usd * 1e6, 6))


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget: no more than `micro_usd` in each period, for all calls or for those of one model, tag or key.

    Attributes:
        subject: The model's id, the tag, or the digest of the key; empty for `all`.
        origin: Who set it, in words: `oblix budget set`, a settings file and its line, an agent.
    """

    scope: Scope
    period: Period
    micro_usd: int
    _: KW_ONLY
    subject: str = ""
    origin: str = ""

    @property
    def name(self) -> str:
        """`day`, `month`, `model openai:gpt-4 a day`, …: what messages call it."""
        each = "" if self.period == "total" else f"a {self.period}"
        if self.scope == "all":
            return self.period if self.period != "total" else "in all"
        return " ".join(filter(None, (self.scope, self.subject, each)))


@dataclass(frozen=True, slots=True)
class Room:
    """What the tightest budget leaves for a model at this moment.

    Attributes:
        name: As `Limit.name`.
        left_usd: The limit minus what is settled and what is reserved; never below 0.
        held_usd: Reserved by calls that are under way, some of which comes back.
        spent_usd: Settled in the present window.
        resets_at: Seconds since the epoch when the next period begins, `None` for a budget in all.
        scope: As in `Limit`; so are `subject`, `period` and `origin`.
    """

    name: str
    limit_usd: float
    left_usd: float
    _: KW_ONLY
    held_usd: float = 0.0
    spent_usd: float = 0.0
    resets_at: float | None = None
    scope: Scope = "all"
    subject: str = ""
    period: Period = "total"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one attempt asks of the books before anything is sent.

    Attributes:
        id: Of the attempt, unique for ever: `REQUEST#3`.
        input_tokens: Of the prompt, by estimate; none of them taken as cached.
        price: In USD per million tokens.
        most_tokens: The answer's bound, which the provider is told as well; `None` where nothing bounds it.
        grows: What it costs is seen while the answer comes. Where tokens are hidden, all of the bound is reserved.
        key: A digest of the API key, for budgets by key; never the key.
        approved: The user allowed it to pass its budgets.
    """

    id: str
    request_id: str
    model_id: str
    place: Place
    input_tokens: int
    price: Price
    _: KW_ONLY
    most_tokens: int | None = None
    grows: bool = True
    tags: tuple[str, ...] = ()
    key: str = ""
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt came to.

    Attributes:
        micro_usd: What is charged.
        certain: The provider told the usage; else it is charged as estimated, for what was possibly billed.
        outcome: As `Attempt.outcome`; in the books `bounded` instead of `ok`, where a bound ended the answer.
        is_steady: The answer came while it was written, so that it could have been stopped in time; `None` where that cannot be told.
    """

    micro_usd: int
    certain: bool
    outcome: str
    _: KW_ONLY
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    is_steady: bool | None = None
