"""Worlds, each in plain words, as facts, and with the reason why the presets decide as they do; reviewed one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from oblix.decision.facts import Complexity, Facts, Health, ModelFacts, Pace, Turn
from oblix.types.privacy import Privacy
from oblix.types.report import AgentReport
from oblix.types.spec import Price

from .world import (
    AVAILABLE,
    CONSTRAINED,
    CRITICAL,
    DEGRADED,
    DISCONNECTED,
    LOW,
    OPTIMAL,
    PRIVATE,
    model,
    picture,
)

# --- the models: windows and prices (USD per million tokens) as their makers had them, paces of a laptop without a graphics processor ---

PHI = model("ollama:phi", "edge", window=2048, pace=Pace(0.1, 0.006, 0.04, 2.0))
LLAMA = model("ollama:llama2", "edge", window=4096, pace=Pace(0.2, 0.02, 0.1, 5.0))
GPT_3 = model(
    "openai:gpt-3.5-turbo", "cloud", window=16_385, pace=Pace(0.5, 0.0002, 0.011), price=Price(0.5, 1.5, "list")
)
GPT_4 = model("openai:gpt-4", "cloud", window=8192, pace=Pace(0.8, 0.0004, 0.033), price=Price(30.0, 60.0, "list"))
LARGE = model(
    "ollama:qwen3:32b", "edge", window=32_768, pace=Pace(0.2, 0.001, 0.02, 12.0)
)  # on a workstation's graphics processor
MINI = model(
    "openai:gpt-4o-mini",
    "cloud",
    window=128_000,
    pace=Pace(0.5, 0.0001, 0.01),
    price=Price(0.15, 0.6, "list", cached_input_per_mtok=0.075),
)
OMNI = model(
    "openai:gpt-4o",
    "cloud",
    window=128_000,
    pace=Pace(0.6, 0.0001, 0.014),
    price=Price(2.5, 10.0, "list", cached_input_per_mtok=1.25),
)
SONNET = model(
    "claude:claude-sonnet-4-5",
    "cloud",
    window=200_000,
    pace=Pace(1.0, 0.0001, 0.016),
    price=Price(3.0, 15.0, "list", cached_input_per_mtok=0.3),
)
GPT41 = model(
    "openai:gpt-4.1",
    "cloud",
    window=1_000_000,
    pace=Pace(1.0, 0.0001, 0.016),
    price=Price(2.0, 8.0, "list", cached_input_per_mtok=0.5),
)

SIMPLE: dict[str, Any] = {"prompt_tokens": 20, "answer_tokens": 60, "complexity": Complexity(0.05)}
MODERATE: dict[str, Any] = {"prompt_tokens": 100, "answer_tokens": 300, "complexity": Complexity(0.45)}
COMPLEX: dict[str, Any] = {"prompt_tokens": 200, "answer_tokens": 800, "complexity": Complexity(0.9)}


def with_(known: ModelFacts, **changed: Any) -> ModelFacts:
    """The same model in another state."""
    return replace(known, **changed)


def with_spec(known: ModelFacts, **changed: Any) -> ModelFacts:
    """The same model, hooked differently."""
    return replace(known, spec=replace(known.spec, **changed))


def hooked(*models: ModelFacts) -> tuple[ModelFacts, ...]:
    """The models in this order of hooking."""
    return tuple(replace(each, spec=replace(each.spec, order=order)) for order, each in enumerate(models))


TWO = hooked(LLAMA, GPT_4)
FOUR = hooked(PHI, LLAMA, GPT_3, GPT_4)
EQUALS = hooked(with_spec(OMNI, tier=1), with_spec(GPT41, tier=1))
IDLE = (AVAILABLE, OPTIMAL)


def world(
    models: tuple[ModelFacts, ...],
    asked: Mapping[str, Any],
    sensors: tuple[AgentReport, AgentReport] = IDLE,
    before: Turn | None = None,
    **more: Any,
) -> Facts:
    """The facts of a prompt.

    Args:
        sensors: What the machine's and the network's agent report.
        more: Of `Asked`; or `agents`, reports of the user's own.
    """
    own = more.pop("agents", {})
    reports = {"resource_monitor": sensors[0], "connectivity_monitor": sensors[1], **own}
    return picture(models, reports=reports, before=before, **{**asked, **more})


class World(NamedTuple):
    """One row of the table: what it is in plain words, its facts, and why it goes as it goes."""

    words: str
    facts: Facts
    why: str


CARD = Privacy("private", by="detector", found={"card": 1}, mode="redact", why="card number")
PLENTY = AgentReport(state="budget_available", target="local", reason="the team's budget is for emergencies")
AT_OMNI = Turn("openai:gpt-4o", 3000, 40.0)
AT_LLAMA = Turn("ollama:llama2", 2500, 40.0)

WORLDS: tuple[World, ...] = (
    World(
        "A simple question; idle laptop, good network",
        world(FOUR, SIMPLE),
        "phi is the tier that a simple question asks for. gpt-3.5-turbo is the quickest, gpt-4 the highest.",
    ),
    World(
        "A question of middling difficulty; idle laptop, good network",
        world(FOUR, MODERATE),
        (
            "A score of 0.45 asks for the second of four tiers. That scale stays the same where the cloud may not be "
            "asked."
        ),
    ),
    World(
        "A hard analysis; idle laptop, good network",
        world(FOUR, COMPLEX),
        (
            "The highest tier is in the cloud; who would rather not leave home, or not pay, takes the highest at home."
            " gpt-3.5-turbo writes three times as fast as gpt-4."
        ),
    ),
    World(
        "A simple question; the processor is at 85 %",
        world(TWO, SIMPLE, (CONSTRAINED, OPTIMAL)),
        (
            "A constrained machine leans to the cloud, which outweighs the tier; it outweighs neither being at home "
            "under `offline_first` nor gpt-4's price under `cheapest`."
        ),
    ),
    World(
        "A simple question; the processor is at 97 %",
        world(FOUR, SIMPLE, (CRITICAL, OPTIMAL)),
        (
            "A critical machine speaks for the cloud with a full vote. `cheapest` still has a free model at home, "
            "`offline_first` still has home."
        ),
    ),
    World(
        "A simple question; the network takes 900 ms",
        world(FOUR, SIMPLE, (AVAILABLE, DEGRADED)),
        (
            "A poor network leans to the edge, where a simple question belongs anyway. `fastest` still wants 1.2 seconds "
            "rather than 2.6, and `best` means the highest tier all the same."
        ),
    ),
    World(
        "A hard analysis; the network takes 900 ms",
        world(FOUR, COMPLEX, (AVAILABLE, DEGRADED)),
        (
            "A poor network and a free machine: the lean outweighs the tier. It outweighs neither 24 seconds under "
            "`fastest` nor the quality that `best` is named for."
        ),
    ),
    World(
        "A hard analysis; processor at 97 % and a network of 900 ms",
        world(TWO, COMPLEX, (CRITICAL, DEGRADED)),
        (
            "A full vote for the cloud against a lean for home: the rest, and the prompt, speak for the cloud. Being "
            "free, or at home, outweighs it where the preset is named for it."
        ),
    ),
    World(
        "A hard analysis; no network",
        world(FOUR, COMPLEX, (AVAILABLE, DISCONNECTED)),
        (
            "The cloud seems out of reach, so that it is tried last; among the models at home the prompt's tier "
            "decides, but for `fastest`, which takes phi's 32 seconds instead of 84."
        ),
    ),
    World(
        "A hard analysis; no network, and the processor is at 97 %",
        world(TWO, COMPLEX, (CRITICAL, DISCONNECTED)),
        (
            "No network outweighs everything: a slow answer is better than none. If llama2 fails, gpt-4 is tried all "
            "the same."
        ),
    ),
    World(
        "A simple question in a conversation that began at home; the processor reaches 97 %",
        world(TWO, {**SIMPLE, "prompt_tokens": 220}, (CRITICAL, OPTIMAL), Turn("ollama:llama2", 200, 40.0)),
        "Unlike a lean, a full vote moves a conversation.",
    ),
    World(
        "A question of middling difficulty; a workstation's model, hooked between two cloud models (`tier=2` of 3)",
        world(hooked(with_spec(LARGE, tier=2), with_spec(MINI, tier=1), with_spec(OMNI, tier=3)), MODERATE),
        (
            "`tier=2` puts the workstation's model where a middling question asks for it. gpt-4o-mini is a little "
            "quicker; `best` wants the third tier."
        ),
    ),
    World(
        "A simple question; a small computer whose model writes two tokens a second",
        world(hooked(with_(PHI, pace=Pace(0.5, 0.1, 0.5, 20.0)), MINI), SIMPLE),
        (
            "`balanced` does not set seconds against a tier: who minds 33 seconds where the cloud takes one names "
            "`fastest`, or hooks the cloud model with `tier=1`."
        ),
    ),
    World(
        "A simple question; the workstation's model must first be loaded, for 12 s",
        world(hooked(with_(LARGE, loaded=False), MINI), SIMPLE),
        (
            "Loading is part of the predicted seconds. Except under `offline_first` and `private`, the cloud may "
            "answer while the model is being loaded; that is no matter of the order."
        ),
    ),
    World(
        "A simple question; two home servers with the same model, at the first of which three others wait",
        world(
            hooked(with_(with_spec(PHI, tier=1), busy=3), with_(with_spec(PHI, id="ollama:phi@attic", tier=1))), SIMPLE
        ),
        "One model, one tier, one price: the queue decides. Waiting counts in every preset.",
    ),
    World(
        "A simple question in a conversation of 3,000 tokens with gpt-4o",
        world(hooked(LLAMA, OMNI), {**SIMPLE, "prompt_tokens": 3020}, before=AT_OMNI),
        (
            "Home would read 3,000 tokens again, for a minute, and the conversation would get another voice. "
            "`offline_first` and `cheapest` accept that."
        ),
    ),
    World(
        "A hard follow-up in a conversation of 2,500 tokens with llama2",
        world(hooked(LLAMA, GPT_4), {**COMPLEX, "prompt_tokens": 2700}, before=AT_LLAMA),
        "A hard question moves up also in mid-conversation: what the lower tier falls short by outweighs staying.",
    ),
    World(
        (
            "A question of middling difficulty in a conversation of 3,000 tokens with gpt-4o; the network begins to "
            "take 900 ms"
        ),
        world(hooked(LLAMA, OMNI), {**MODERATE, "prompt_tokens": 3100}, (AVAILABLE, DEGRADED), AT_OMNI),
        (
            "A lean against the place of a conversation does not count, else a sensor at its limit would make it flap."
            " The rest is as in world 16."
        ),
    ),
    World(
        "Two cloud models of one tier; a short conversation with the second",
        world(EQUALS, MODERATE, before=Turn("openai:gpt-4.1", 60, 40.0)),
        "The two are all but equal: who answered before goes on.",
    ),
    World(
        "The same, 60,000 tokens later",
        world(EQUALS, {**MODERATE, "prompt_tokens": 60_100}, before=Turn("openai:gpt-4.1", 60_000, 40.0)),
        (
            "What the second keeps of the conversation speaks for it as well: 3 cents against 15, and nothing to read "
            "again."
        ),
    ),
    World(
        "A hard analysis, marked private by the caller",
        world(FOUR, COMPLEX, privacy=PRIVATE),
        "Private means home, whatever the preset; there the prompt's tier decides, or the seconds.",
    ),
    World(
        "A hard analysis with a card number in it, where the settings say `redact`",
        world(TWO, COMPLEX, privacy=CARD),
        (
            "With placeholders in the place of the number the cloud may answer. `private` goes further than `redact`: "
            "nothing leaves."
        ),
    ),
    World(
        "A document of 30,000 tokens to summarise",
        world(hooked(LLAMA, LARGE, GPT_3, OMNI), {**MODERATE, "prompt_tokens": 30_000}),
        (
            "Only two windows hold it; a middling prompt asks for the second of the four tiers. At home reading takes "
            "30 of its 36 seconds."
        ),
    ),
    World(
        "A hard analysis for at most $0.02",
        world(FOUR, COMPLEX, max_cost_usd=0.02),
        "gpt-4 might cost 5 cents, which is above the limit: the highest tier within it is chosen.",
    ),
    World(
        "A simple question; the only cloud model has no known price, and the processor is at 97 %",
        world(hooked(LLAMA, with_spec(OMNI, price=None)), SIMPLE, (CRITICAL, OPTIMAL)),
        (
            "What has no price counts as the dearest, and `cheapest` will not risk it. `balanced`, `fastest` and "
            "`best` follow the machine."
        ),
    ),
    World(
        "A question of middling difficulty with tools, which phi cannot use",
        world(hooked(with_spec(PHI, capabilities=frozenset()), LARGE, OMNI), MODERATE, needs=frozenset({"tools"})),
        "phi is out, because the request needs tools. A middling prompt asks for the second tier anyway.",
    ),
    World(
        "A simple question; the Ollama server refused the connection a moment ago",
        world(hooked(with_(LLAMA, health=Health(failing="connection refused")), MINI), SIMPLE),
        "Who failed a moment ago comes after those who did not, under every preset. `private` has nobody else.",
    ),
    World(
        "A hard analysis; the user's own agent speaks for home, to save",
        world(TWO, COMPLEX, agents={"cost_optimizer": PLENTY}),
        (
            "A user's own agent weighs like ours: its full vote outweighs the tier. `fastest` and `best` want "
            "something else more; to be obeyed always, an agent refuses, or a budget is set."
        ),
    ),
    World(
        "A hard analysis; only cloud models are hooked",
        world(hooked(MINI, SONNET), COMPLEX),
        "Nothing is at home: the tier decides, or the seconds, or the money. `private` refuses.",
    ),
    World(
        "A simple question to `gpt-4`, but another will do (`model_id`, `fallback=True`)",
        world(FOUR, SIMPLE, model_id="openai:gpt-4", fallback=True),
        "A wish by name stands above all weights. Only the privacy of the prompt is above the wish.",
    ),
    World(
        "A simple question; the battery is at 9 %, not charging",
        world(FOUR, SIMPLE, agents={"power": LOW}),
        (
            "On a low battery the cloud is asked rather, as with a machine at its limits: a lean. Where it would not outweigh"
            " what the preset is named for, the smallest at home is asked rather, which is phi anyway."
        ),
    ),
    World(
        "A hard analysis; the battery is at 9 %, not charging",
        world(FOUR, COMPLEX, agents={"power": LOW}),
        (
            "Who stays at home for an analysis would ask llama2, and asks phi while energy is scarce: a lean outweighs the "
            "tier. The others are in the cloud already."
        ),
    ),
    World(
        "A question of middling difficulty; the battery is at 9 %, and there is no network",
        world(FOUR, MODERATE, (AVAILABLE, DISCONNECTED), agents={"power": LOW}),
        (
            "The cloud cannot be reached, so that a lean for it changes nothing; who would rather have the smallest at home "
            "gets it. `fastest` takes phi because it is quicker."
        ),
    ),
    World(
        "A question of middling difficulty in a conversation with llama2; the battery falls to 9 %",
        world(FOUR, {**MODERATE, "prompt_tokens": 400}, before=Turn("ollama:llama2", 300, 40.0), agents={"power": LOW}),
        (
            "As with every lean: it moves no conversation, neither to the cloud nor to the smallest. `fastest` goes for the "
            "seconds, and `best` for the tier, as ever."
        ),
    ),
    World(
        "A question of middling difficulty; the workstation's model does not fit into the memory that is free",
        world(hooked(PHI, with_(LARGE, loaded=False, fit="no"), OMNI), MODERATE),
        (
            "What does not fit comes after everybody who can answer: then the middling prompt goes a tier up in the cloud, or"
            " a tier down at home, as the preset is named."
        ),
    ),
    World(
        "A hard analysis, marked private; the larger of two models at home does not fit",
        world(hooked(PHI, with_(LARGE, fit="no"), OMNI), COMPLEX, privacy=PRIVATE),
        "Private stays private: phi answers, though the prompt asks for more. Should it fail, the larger one is tried all the same.",
    ),
    World(
        "A simple question; two home servers with the same model, which would fill the memory of the first",
        world(
            hooked(
                with_(with_spec(PHI, tier=1), fit="tight"),
                with_(with_spec(PHI, id="ollama:phi@attic", tier=1), fit="fits"),
            ),
            SIMPLE,
        ),
        "One model, one tier, one price: the server that has room to spare is asked. A model that is loaded has its room.",
    ),
)
