"""The figures of a reply: seconds, tokens, USD. What was not measured is `None`; what was estimated is marked."""

from __future__ import annotations

from functools import lru_cache
from time import gmtime, strftime
from typing import Any

from oblix.decision.money import usd
from oblix.decision.tokens import estimate, estimate_request
from oblix.execution.journey import Journey
from oblix.types.chunk import End, Usage
from oblix.types.decision import Decision
from oblix.types.money import micro
from oblix.types.reply import Reply
from oblix.types.request import Request
from oblix.types.spec import ModelSpec


def metrics(
    request: Request, spec: ModelSpec, journey: Journey, end: End, *, asked_at: float, now: float, wall: float
) -> dict[str, Any]:
    """The `metrics` of a reply.

    Args:
        spec: Of the model that answered.
        asked_at: Loop time when the caller called, in seconds.
        now: Loop time at the end.
        wall: Seconds since the epoch at the end.
    """
    total = now - asked_at
    first = None if journey.first_token_at is None else journey.first_token_at - asked_at
    told = Usage() if journey.is_spliced else end.usage  # each attempt of a spliced answer counted its own part
    input_tokens, output_tokens = told.input_tokens, told.output_tokens
    if input_tokens is None:
        input_tokens = estimate_request(request)
    if output_tokens is None:
        output_tokens = estimate("".join(journey.text))
    return {
        "total_latency": total,
        "time_to_first_token": first,
        # Everything before the first attempt was sent and after the last one ended is ours.
        "overhead": max(0.0, total - (journey.ended_at - journey.sent_at)),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cached_tokens": told.cached_tokens,
        "estimated": [name for name in ("input_tokens", "output_tokens") if getattr(told, name) is None],
        "tokens_per_second": _speed(journey, output_tokens),
        "cost_usd": spent(journey),
        "saved_usd": None,
        "cut_messages": next((each.cut for each in reversed(journey.attempts) if each.outcome == "ok"), 0),
        "price_source": None if spec.price is None else spec.price.source,
        "start_time": _iso(wall - total),
        "end_time": _iso(wall),
        "model_name": spec.name,
        "model_type": spec.provider,
    }


def _speed(journey: Journey, output_tokens: int) -> float | None:
    """Tokens per second since the first one."""
    if journey.first_token_at is None or output_tokens < 2:
        return None
    writing = journey.ended_at - journey.first_token_at
    return output_tokens / writing if writing > 1e-6 else None


def spent(journey: Journey) -> float | None:
    """USD of all attempts together, as the books have it, also of those that failed or were beaten; `None` where one is unpriced."""
    costs = [each.cost_usd for each in journey.attempts if each.outcome != "postponed"]
    return None if None in costs else round(sum(cost for cost in costs if cost is not None), 6)


def saved(decision: Decision, specs: dict[str, ModelSpec], figures: dict[str, Any]) -> float | None:
    """USD that the cheapest allowed and priced cloud model would have cost for the same tokens, minus the cost.

    Nothing of the prompt lies in the cache of a model that was not asked. The one that answered costs what it did.
    """
    cost = figures["cost_usd"]
    if cost is None:
        return None
    answered = f"{figures['model_type']}:{figures['model_name']}"
    costs = [
        cost if c.model_id == answered else micro(price.cost(figures["input_tokens"], figures["output_tokens"])) / 1e6
        for c in decision.candidates
        if c.place == "cloud" and c.verdict in ("chosen", "next") and (price := specs[c.model_id].price) is not None
    ]
    return round(max(0.0, min(costs) - cost), 6) if costs else None


def footer(reply: Reply) -> str:
    """One line about an answer: place, model, seconds, tokens, cost, reason."""
    m = reply.metrics
    place = next((attempt.place for attempt in reply.attempts if attempt.outcome == "ok"), reply.decision.place)
    first = "" if m["time_to_first_token"] is None else f" (first token {m['time_to_first_token']:.2f} s)"
    cost = "cost unknown" if m["cost_usd"] is None else usd(m["cost_usd"])
    saved_ = f" (saved {usd(m['saved_usd'])})" if m["saved_usd"] else ""
    mark = "~" if "output_tokens" in m["estimated"] else ""
    tokens = f"{mark}{m['output_tokens']} tok"
    return f"{place} · {reply.model_id} · {m['total_latency']:.1f} s{first} · {tokens} · {cost}{saved_} · {reply.why()}"


def _iso(at: float) -> str:
    milliseconds = int(at * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}+00:00"


@lru_cache(maxsize=4)
def _second(at: int) -> str:
    """Start and end of an answer mostly lie in the same few seconds."""
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(at))
