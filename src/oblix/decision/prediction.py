"""What an answer of a model would take and cost: seconds by its pace, USD by its price, both with what its cache saves."""

from __future__ import annotations

from oblix.decision.facts import Facts, ModelFacts, Pace

# Start values, until a model has answered. Edge: a model of 7 to 8 billion parameters in 4 bits on a laptop's processor reads some 50 and
# writes some 10 tokens a second (llama.cpp's published benchmarks), and 4 GB come from an SSD in some 5 s. Cloud: the medians of the large
# providers in public latency boards of 2026, 0.6 s to the first token and 60 tokens a second. Both are wrong for somebody, and forgotten
# with the model's first answers.
START = {
    "edge": Pace(start=0.2, read=0.02, write=0.1, load=5.0),
    "cloud": Pace(start=0.6, read=0.0002, write=1 / 60, load=0.0),
}
# Seconds that a prompt cache is kept for certain: OpenAI and Anthropic say 5 minutes of inactivity, Ollama's keep_alive is 5 minutes.
CACHED_FOR = 300.0


def seconds(facts: Facts, model: ModelFacts) -> float:
    """Load, queue, reading and writing: the predicted seconds of a whole answer."""
    start = START[model.spec.place]
    pace = model.pace or start
    asked = facts.asked
    answer = pace.start + pace.write * asked.answer_tokens
    total = answer + pace.read * (asked.prompt_tokens - cached_tokens(facts, model))
    if model.loaded is False:
        total += (start.load if pace.load is None else pace.load) or 0.0
    waiting = model.busy + model.queue
    if waiting and model.spec.is_edge:  # at home they wait for one engine; a cloud answers side by side
        total += waiting * answer
    return total


def cost(facts: Facts, model: ModelFacts) -> float | None:
    """USD for the expected tokens, `None` when unpriced."""
    price = model.spec.price
    if price is None:
        return None
    asked = facts.asked
    if facts.before is not None and (cached := cached_tokens(facts, model)):
        return price.cost(asked.prompt_tokens, asked.answer_tokens, cached)
    return price.cost(asked.prompt_tokens, asked.answer_tokens)


def highest_cost(facts: Facts, model: ModelFacts) -> float | None:
    """USD if the answer takes all of its limit and no cache helps: what a cost limit has to reckon with."""
    price, asked = model.spec.price, facts.asked
    return None if price is None else price.cost(asked.prompt_tokens, asked.answer_limit or asked.answer_tokens)


def least_cost(facts: Facts, model: ModelFacts) -> float | None:
    """USD for the prompt and one word: what a budget has to have at least. `None` when unpriced."""
    price, asked = model.spec.price, facts.asked
    if price is None:
        return None
    tokens = asked.prompt_tokens
    if asked.least_tokens is not None and model.spec.window is not None:  # what does not fit its window is cut
        tokens = max(asked.least_tokens, min(tokens, model.spec.window))
    return price.cost(tokens, 1)


def cached_tokens(facts: Facts, model: ModelFacts) -> int:
    """Tokens of the prompt that this model has read in the turn before, and need not read again."""
    before = facts.before
    if before is None or before.model_id != model.spec.id or not model.spec.keeps_prefix:
        return 0
    if before.ago > CACHED_FOR or model.loaded is False:
        return 0
    return min(before.tokens, facts.asked.prompt_tokens)
