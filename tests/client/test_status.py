"""What a client knows at this moment, gathered as plain data: nothing is sent, nothing is written, nothing is waited for too long."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oblix import OblixClient, Price
from oblix.agents import AgentReport, BaseAgent, ConnectivityAgent, ResourceMonitor
from oblix.agents.probes.engine import look
from oblix.agents.probes.engine_facts import Engine, EngineModel, LoadedModel, State
from oblix.cli.screen import screen
from oblix.client import holdings
from oblix.client.standing import Around, row, standing
from oblix.client.status import _way, gather
from oblix.decision.facts import Health, ModelFacts, Pace
from oblix.decision.layout import lay_out
from oblix.decision.money import usd
from oblix.models.memory import Room, need
from oblix.settings import keyfile
from oblix.storage.decisions import DecisionLog
from oblix.storage.store import Store
from oblix.testing import Fail, ScriptedModel
from oblix.testing.engines import OLLAMA as ANSWERS
from oblix.testing.engines import SILENCE, playing
from oblix.types.decision import Candidate, Reason
from oblix.types.money import Limit
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

from .hooked import Says, client_with, cloud, edge

IDLE = {"cpu_percent": 3.0, "cores": 4, "memory_percent": 20.0}
# What a plain run must have, whatever else comes with it (docs/senses.md).
KEYS = {
    "schema", "version", "at", "ready", "machine", "power", "network", "agents", "cloud", "engines", "embedded", "models", "keys",
    "budget", "policy", "settings_file", "data_file",
}  # fmt: skip


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine reads as idle."""
    file = tmp_path / "idle.json"
    file.write_text(json.dumps(IDLE))
    monkeypatch.setenv("OBLIX_READINGS", str(file))


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def status_of(client: OblixClient, **given: Any) -> dict[str, Any]:
    """Gathered on a loop of its own; it goes through JSON, as a reader would see it."""

    async def main() -> dict[str, Any]:
        async with client:
            return await gather(client._hall, **{"within": 30.0, **given})

    found = asyncio.run(main())
    told = json.loads(json.dumps(found, allow_nan=False))
    assert told == found
    return found


def test_a_server_that_was_well_a_moment_ago_is_not_called_hung_for_a_short_silence() -> None:
    """Discovery has just seen it, and a busy machine may take longer than the look that a screen has time for."""

    async def main() -> dict[str, Any]:
        async with playing(ANSWERS) as played, OblixClient(store=":memory:") as client:
            await client.hook_model("ollama", "llama3", endpoint=played.url)
            await client._hall.transport.prepare()
            client._hall.engines.take([await look(client._hall.transport, "ollama", played.url, limit=30.0)])
            played.answers = dict.fromkeys(ANSWERS, SILENCE)
            return await gather(client._hall, within=1.0)

    status = asyncio.run(main())
    assert status["engines"][0]["state"] == "ready"
    assert "said nothing within" in status["engines"][0]["reason"]
    assert status["models"][0]["can_answer"] is True


@pytest.mark.usefixtures("idle")
def test_what_is_told_of_a_client_with_models_and_agents() -> None:
    client = client_with(edge("yes", window=4096), cloud("yes", key="missing"))
    client.hook_agent(ResourceMonitor())
    client.hook_agent(ConnectivityAgent())
    client.hook_agent(Says("mood", AgentReport(state="sunny", reason="no cloud anywhere")))
    found = status_of(client)
    assert found.keys() == KEYS
    assert found["ready"] is True
    assert (found["machine"]["state"], found["machine"]["metrics"]["cpu_percent"]) == ("available", 3.0)
    assert found["network"]["state"] == "unknown"  # no cloud model has an address
    assert found["agents"]["mood"]["reason"] == "no cloud anywhere"
    here, there = found["models"]
    assert (here["id"], here["can_answer"], here["rank"], here["window"]) == ("ollama:phi", True, 1, 4096)
    assert (there["id"], there["can_answer"], there["rank"]) == ("openai:gpt", False, None)
    assert "key" in there["why"]
    assert there["usd_per_mtok"] == [10.0, 30.0]


def test_a_client_without_anything_says_so() -> None:
    found = status_of(client_with())
    assert (found["ready"], found["models"], found["machine"], found["data_file"]) == (False, [], None, None)
    assert found["budget"] == {"limit_usd": None, "today": None, "on_limit": "edge-only", "limits": []}


def test_no_agent_is_made_and_no_model_is_asked() -> None:
    model = edge("yes")
    found = status_of(client_with(model))
    assert (found["machine"], found["network"], found["power"]) == (None, None, None)
    assert model.requests == []


class Hangs(BaseAgent):
    """Never says anything, from the beginning or from the first question on."""

    def __init__(self, *, from_the_beginning: bool) -> None:
        super().__init__("silent")
        self._from_the_beginning = from_the_beginning

    async def initialize(self) -> bool:
        if self._from_the_beginning:
            await asyncio.Event().wait()
        return await super().initialize()

    async def check(self, **kwargs: Any) -> AgentReport:
        await asyncio.Event().wait()
        return AgentReport()


@pytest.mark.parametrize("from_the_beginning", [True, False])
@pytest.mark.parametrize("models", [(), (edge("yes"),)], ids=["no model", "a model"])
def test_an_agent_that_hangs_is_told_of(from_the_beginning: bool, models: tuple[ScriptedModel, ...]) -> None:
    client = client_with(*models)
    client.hook_agent(Hangs(from_the_beginning=from_the_beginning))
    assert status_of(client)["agents"]["silent"]["state"] == "error"


def test_a_veto_stands_in_every_row() -> None:
    client = client_with(edge("yes"))
    client.hook_agent(Says("boss", AgentReport(proceed=False, state="no", reason="not on Sundays")))
    found = status_of(client)
    assert found["ready"] is False
    assert "not on Sundays" in found["models"][0]["why"]


def test_two_agents_of_a_kind() -> None:
    """The one that was hooked first stands in its section, the other one under its name."""
    client = client_with(edge())
    for name in ("first", "second"):
        client.hook_agent(ConnectivityAgent(name))
    found = status_of(client)
    assert found["network"]["state"] == "unknown"
    assert list(found["agents"]) == ["second"]


def test_the_way_to_a_cloud_endpoint(port: int) -> None:
    """Measured where a key is there; without one nobody is asked."""

    async def hook() -> OblixClient:
        client = OblixClient(store=":memory:")
        await client.hook_model("openai", "gpt", endpoint=f"http://127.0.0.1:{port}/v1", api_key="sk-" + "test" * 4)
        await client.hook_model("groq", "llama")
        client.hook_agent(ConnectivityAgent())
        return client

    found = status_of(asyncio.run(hook()))
    here, there = found["cloud"]
    assert (here["endpoint"], here["models"], here["state"]) == (f"127.0.0.1:{port}", ["openai:gpt"], "reached")
    assert here["figures"]["latency_ms"] >= 0
    assert (there["endpoint"], there["state"]) == ("api.groq.com:443", "not_asked")
    assert [model["can_answer"] for model in found["models"]] == [True, False]


def test_a_cloud_that_cannot_be_reached(free_port: int) -> None:
    async def hook() -> OblixClient:
        client = OblixClient(store=":memory:")
        await client.hook_model(
            "openai", "gpt", endpoint=f"http://127.0.0.1:{free_port}/v1", api_key="sk-" + "test" * 4
        )
        client.hook_agent(ConnectivityAgent())
        return client

    found = status_of(asyncio.run(hook()))
    assert (found["ready"], found["models"][0]["can_answer"]) == (False, False)
    assert "refused" in found["cloud"][0]["reason"]


@pytest.fixture
def free_port() -> int:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_the_keys_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-" + "0123456789abcdef"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    monkeypatch.setenv("GROQ_API_KEY", "your_groq_api_key")  # a gap that nobody filled in
    found = status_of(client_with(edge()))
    place = {"variable": "OPENAI_API_KEY", "origin": "environment", "place": "OPENAI_API_KEY"}
    assert found["keys"] == [{**place, "provider": "openai", "models": []}]
    assert secret not in json.dumps(found)


def test_keys_that_are_kept_are_told_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each once, at its first place; and one that we keep is for no model at somebody else's address."""
    secret = "sk-" + "0123456789abcdef"
    monkeypatch.chdir(tmp_path)
    env = tmp_path / ".env"
    env.write_text(f"OPENAI_API_KEY={secret}\n")
    for provider in ("openai", "groq"):
        keyfile.put(provider, SecretStr(secret))

    async def hook() -> OblixClient:
        client = OblixClient(store=":memory:")
        for provider in ("openai", "groq"):
            await client.hook_model(provider, "m", endpoint="http://127.0.0.1:9/v1")
        return client

    found = status_of(asyncio.run(hook()))
    there = {"variable": None, "provider": "openai", "models": ["openai:m"]}
    kept: dict[str, Any] = {"variable": None, "provider": "groq", "models": []}
    assert found["keys"] == [
        {**there, "origin": ".env", "place": f"OPENAI_API_KEY in {env}"},
        {**kept, "origin": "file", "place": str(keyfile.path())},
    ]
    assert secret not in json.dumps(found)


def test_what_was_spent_today(tmp_path: Path) -> None:
    """From the log, and what was asked before midnight is not of today."""
    file = tmp_path / "oblix.db"
    client = client_with(
        cloud("one two three", name="openai:gpt"),
        cloud([Fail("server_error", "no")], name="openai:broken"),
        store=file,
    )

    async def main() -> dict[str, Any]:
        async with client:
            await client.execute("hello", model_id="openai:gpt")
            with pytest.raises(Exception, match="broken"):
                await client.execute("hello", model_id="openai:broken")
            await client.explain()  # the outcomes are in the file by then
            return await gather(client._hall, within=30.0)

    yesterday = time.time() - timedelta(days=1).total_seconds()
    log = DecisionLog(file)
    old = {"metrics": {"cost_usd": 5.0}, "attempts": []}
    asyncio.run(_write(log, yesterday, old))
    log.close()
    before = datetime.now().astimezone().date()
    found = asyncio.run(main())
    if datetime.now().astimezone().date() != before:
        pytest.skip("midnight came in between")
    today = found["budget"]["today"]
    assert (today["answers"], today["unpriced"], today["failed"]) == (1, 0, 1)
    assert 0 < today["spent_usd"] < 0.01
    assert found["data_file"]["bytes"] > 0


def test_the_books_know_what_was_spent_where_the_log_does_not_tell_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "PATIENCE", -1.0)  # over before the first row
    client = client_with(cloud("one two three"), store=tmp_path / "oblix.db")

    async def main() -> tuple[float, dict[str, Any]]:
        async with client:
            cost = (await client.execute("hello")).metrics["cost_usd"]
            await client.explain()
            return cost, await gather(client._hall, within=30.0)

    cost, found = asyncio.run(main())
    assert found["budget"]["today"] == {"spent_usd": cost, "answers": None, "unpriced": None, "failed": None}
    assert f"spent today: {usd(cost)}\n" in lay_out(screen(found), width=None, tabs=True)


def test_books_on_a_disk_that_hangs_hold_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status ends in its time; the client's own limits are told all the same."""
    over = threading.Event()
    monkeypatch.setattr(Store, "exists", lambda store: over.wait(60))
    client = OblixClient(store=tmp_path / "oblix.db")
    client._hall.books.watch("test", [Limit("all", "day", 5_000_000)])
    try:
        found = status_of(client, within=0.2)
    finally:
        over.set()
    assert (found["budget"]["limit_usd"], found["budget"]["today"]) == (5.0, None)


async def _write(log: DecisionLog, at: float, outcome: dict[str, Any]) -> None:
    await log.write_decision("00OLD", at, {"id": "00OLD", "policy_digest": ""}, {})
    await log.write_outcome("00OLD", at, outcome)


# --- which models can answer ---

OLLAMA = ModelSpec("ollama:phi", "ollama", "phi", "edge", endpoint="http://localhost:11434")
EMBEDDED = ModelSpec("embedded:smollm2", "embedded", "smollm2", "edge")
OPENAI = ModelSpec("openai:gpt", "openai", "gpt", "cloud", endpoint="https://api.openai.com/v1")
NOTHING = Around(None, None, ())


PHI = EngineModel("phi:latest", bytes=1_600_000_000)


def engine(state: State = "ready", reason: str = "", **told: Any) -> Engine:
    """A server as it was seen."""
    known = {"models": (PHI,), "loaded": ()}
    return Engine("ollama", "http://localhost:11434", state, reason, **{**known, **told})


def way(state: str, reason: str = "") -> dict[str, Any]:
    """A cloud endpoint as it is told of."""
    return {"endpoint": "api.openai.com:443", "models": ["openai:gpt"], "state": state, "reason": reason, "figures": {}}


@pytest.mark.parametrize(
    ("spec", "around", "can_answer", "word"),
    [
        (OLLAMA, NOTHING, None, "not looked at"),
        (OLLAMA, Around([engine("absent")], None, ()), False, "nobody answers"),
        (OLLAMA, Around([engine("hung", "no token within 2 s")], None, ()), False, "no token"),
        (OLLAMA, Around([engine("strange")], None, ()), False, "another server"),
        (OLLAMA, Around([engine("loading", "it is loading")], None, ()), None, "loading"),
        (OLLAMA, Around([engine("locked", models=())], None, ()), None, "without a key"),
        (OLLAMA, Around([engine()], None, ()), True, "not in memory"),
        (OLLAMA, Around([engine(loaded=(LoadedModel("phi:latest"),))], None, ()), True, "in memory"),
        (OLLAMA, Around([engine(models=(EngineModel("llama3"),))], None, ()), False, "does not have it"),
        (OLLAMA, Around([Engine("ollama", "http://localhost:1", "ready")], None, ()), None, "not looked at"),
        (EMBEDDED, NOTHING, None, "in time"),
        (EMBEDDED, Around(None, {"engine": True, "missing": {}}, ()), True, "here"),
        (EMBEDDED, Around(None, {"engine": False, "missing": {}}, ()), False, "not installed"),
        (EMBEDDED, Around(None, {"engine": True, "missing": {"smollm2": "fetch it"}}, ()), False, "fetch it"),
        (OPENAI, NOTHING, None, "not measured yet"),
        (OPENAI, Around(None, None, [way("unknown", "not measured yet")]), None, "not measured yet"),
        (OPENAI, Around(None, None, [way("reached", "23 ms")]), True, "23 ms"),
        (OPENAI, Around(None, None, [way("failing", "no route")]), False, "no route"),
        (OPENAI, Around(None, None, [way("not_asked", "no key")]), False, "no key"),
    ],
)
def test_whether_a_model_can_answer(spec: ModelSpec, around: Around, can_answer: bool | None, word: str) -> None:
    found, why = standing(spec, around)
    assert found is can_answer
    assert word in why


def test_a_hard_rule_comes_first() -> None:
    rejected = Candidate("openai:gpt", "cloud", "rejected", Reason("privacy", "private prompts stay at home"))
    around = Around(None, None, [way("reached")])
    assert standing(OPENAI, around, candidate=rejected) == (False, "private prompts stay at home")


def test_what_failed_of_late_may_answer_again() -> None:
    around = Around([engine()], None, ())
    assert standing(OLLAMA, around, health=Health(failing="it hung")) == (None, "it hung")


def test_a_server_that_takes_any_name_for_its_model() -> None:
    spec = ModelSpec("llamacpp:mine", "llamacpp", "mine", "edge", endpoint="http://localhost:8080/v1")
    seen = Engine("llamacpp", "http://localhost:8080", "ready", models=(EngineModel("weights.gguf"),))
    assert standing(spec, Around([seen], None, ())) == (True, "there")


def test_the_row_of_a_model() -> None:
    facts = ModelFacts(OLLAMA, pace=Pace(0.1, 0.001, 0.04), busy=2)
    told = row(facts, None, 1, Around([engine(loaded=(LoadedModel("phi:latest"),), waiting=3)], None, ()))
    assert (told["tokens_per_second"], told["queue"], told["busy"], told["loaded"]) == (25.0, 3, 2, True)
    assert (told["usd_per_mtok"], told["window"], told["fit"]) == (None, None, "fits")


@pytest.mark.parametrize(("free", "fit"), [(64e9, "fits"), (1e9, "no"), (None, None)])
def test_whether_a_model_fits(free: float | None, fit: str | None) -> None:
    """By the weights that the engine tells of, and the memory that is free; what is loaded fits."""
    room = None if free is None else Room(int(free))
    facts = ModelFacts(OLLAMA)
    assert row(facts, None, 1, Around([engine()], None, (), room))["fit"] == fit
    loaded = engine(loaded=(LoadedModel("phi:latest"),))
    assert row(facts, None, 1, Around([loaded], None, (), room))["fit"] == "fits"


@pytest.mark.parametrize(("free", "loaded", "fit"), [(64e9, False, "fits"), (5e7, False, "no"), (5e7, True, "fits")])
def test_whether_an_embedded_model_fits(free: float, loaded: bool, fit: str) -> None:
    """A graphics processor's memory is no use to it; once it is in memory, it fits."""
    around = Around(None, None, (), Room(int(free), 80_000_000_000), {EMBEDDED.id: need(98_400_000)})
    assert row(ModelFacts(EMBEDDED, loaded=loaded), None, 1, around)["fit"] == fit


@pytest.mark.engine
def test_the_small_model_is_weighed(weights: Path) -> None:
    async def hook() -> OblixClient:
        client = OblixClient(store=":memory:")
        await client.hook_model("embedded", "smollm2")
        return client

    found = status_of(asyncio.run(hook()))
    assert found["embedded"]["weights"][0]["bytes"] == weights.stat().st_size
    assert (found["models"][0]["can_answer"], found["models"][0]["fit"]) == (True, "fits")


@pytest.mark.parametrize(
    ("seen", "window"),
    [
        (engine(), 8192),
        (engine(loaded=(LoadedModel("phi:latest", window=4096),)), 4096),
        (engine("hung", models=()), None),
    ],
)
def test_the_window_that_the_engine_tells(seen: Engine, window: int | None) -> None:
    """The one that is loaded, else what the model can take."""
    if seen.models:
        seen = replace(seen, models=(replace(PHI, window=8192),))
    assert row(ModelFacts(OLLAMA), None, 1, Around([seen], None, ()))["window"] == window
    own = replace(OLLAMA, window=2048)
    assert row(ModelFacts(own), None, 1, Around([seen], None, ()))["window"] == 2048


def test_the_window_that_the_weights_tell() -> None:
    weights = [{"name": "smollm2", "window": 8192}]
    around = Around(None, {"engine": True, "missing": {}, "weights": weights}, ())
    assert row(ModelFacts(EMBEDDED), None, 1, around)["window"] == 8192


def test_a_name_that_cannot_be_looked_up_is_a_failure() -> None:
    """At once, where one failure is no evidence that the network is down."""
    seen = {"state": "unknown", "trouble": "its name cannot be looked up", "latency_ms": None}
    assert _way(seen, {"state": "unknown"}, is_asked=True)["state"] == "failing"
    assert _way({**seen, "trouble": "no answer"}, {"state": "unknown"}, is_asked=True)["state"] == "unknown"


def test_who_cannot_answer_has_no_rank(free_port: int) -> None:
    """The decision counted on the first one; the look around found nobody there."""

    async def main() -> dict[str, Any]:
        async with client_with(cloud("yes", name="openai:gpt")) as client:
            await client.hook_model("ollama", "phi", endpoint=f"http://127.0.0.1:{free_port}")
            return await gather(client._hall, within=30.0)

    ranks = {model["id"]: (model["can_answer"], model["rank"]) for model in asyncio.run(main())["models"]}
    assert ranks["ollama:phi"] == (False, None)
    assert ranks["openai:gpt"][1] == 1


def test_a_price_that_the_catalogue_had_by_then() -> None:
    async def main() -> dict[str, Any]:
        async with OblixClient(store=":memory:") as client:
            await client.hook_model("openai", "gpt-4o-mini")
            await asyncio.to_thread(client._hall.prices.wait, 30.0)
            return await gather(client._hall, within=30.0)

    (told,) = asyncio.run(main())["models"]
    assert told["usd_per_mtok"] == [0.15, 0.6]
    assert told["window"]


def test_the_price_of_a_model() -> None:
    facts = ModelFacts(ModelSpec("openai:gpt", "openai", "gpt", "cloud", price=Price(1.0, 2.0, "caller")))
    assert row(facts, None, None, NOTHING)["usd_per_mtok"] == [1.0, 2.0]
