"""The path of a prompt, from the call to the reply."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from oblix import (
    AllModelsFailed,
    BudgetExceeded,
    ConfigurationError,
    ContextOverflow,
    DeadlineExceeded,
    InvalidRequest,
    KeyMissing,
    NoRoute,
    OblixClient,
    OblixError,
    PrivacyViolation,
    Reply,
    UnknownModel,
    Vetoed,
)
from oblix.agents import AgentReport
from oblix.client.figures import footer
from oblix.testing import Block, Cut, Fail, ScriptedModel, Wait, run
from oblix.types.attempt import Attempt
from oblix.types.chunk import End, Usage
from oblix.types.messages import ToolCall
from oblix.types.request import Request

from .hooked import PAID, Says, client_with, cloud, edge, now

HARD = (
    "Analyze the implications of quantum computing on modern cryptography, "
    "including potential vulnerabilities in RSA and elliptic curve systems."
)


def ask(*models: ScriptedModel, prompt: str | None = "What is it?", policy: str = "balanced", **wishes: Any) -> Reply:
    return run(client_with(*models, policy=policy).execute(prompt, **wishes))


def fails(*models: ScriptedModel, prompt: str | None = "What is it?", **wishes: Any) -> OblixError:
    with pytest.raises(OblixError) as failed:
        ask(*models, prompt=prompt, **wishes)
    return failed.value


# --- the reply ---


def test_a_reply_has_the_answer_and_its_figures() -> None:
    reply = ask(edge([Wait(0.5), "Par", Wait(1.0), "is"]), cloud())
    assert reply.response == "Paris"
    assert str(reply) == "Paris"
    assert reply.model_id == "ollama:phi"
    assert reply.finish_reason == "stop"
    measured = dict(reply.metrics)
    start, end = measured.pop("start_time"), measured.pop("end_time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", start)
    assert start < end
    assert measured == {
        "total_latency": 1.5,
        "time_to_first_token": 0.5,
        "overhead": 0.0,
        "input_tokens": 3,
        "output_tokens": 2,
        "cached_tokens": None,
        "estimated": [],
        "tokens_per_second": 2.0,
        "cost_usd": 0.0,
        "saved_usd": pytest.approx((3 * 10 + 2 * 30) / 1e6),
        "price_source": "scripted",
        "cut_messages": 0,
        "model_name": "phi",
        "model_type": "ollama",
    }


def test_counts_that_a_provider_does_not_give_are_estimated_and_marked() -> None:
    reply = ask(edge(["Paris, the city of light", End("length", Usage(None, None))]))
    assert reply.metrics["estimated"] == ["input_tokens", "output_tokens"]
    assert (reply.metrics["input_tokens"], reply.metrics["output_tokens"]) == (9, 7)
    assert reply.finish_reason == "length"
    assert footer(reply).count("~7 tok") == 1


def test_an_empty_answer_has_no_first_token() -> None:
    reply = ask(edge([Wait(1.0), End("stop")]))
    assert reply.response == ""
    assert reply.metrics["time_to_first_token"] is None
    assert reply.metrics["tokens_per_second"] is None


def test_tool_calls_come_whole() -> None:
    call = ToolCall("c1", "look", '{"at": "it"}')
    reply = ask(edge([End("tool_calls", Usage(1, 2), (call,))]), tools=[{"name": "look"}])
    assert reply.tool_calls == (call,)
    assert reply.to_dict()["tool_calls"] == [{"id": "c1", "name": "look", "arguments": '{"at": "it"}'}]
    assert reply.finish_reason == "tool_calls"


def test_a_reply_reads_as_a_mapping() -> None:
    reply = ask(edge("Paris"), session_id="s1", request_id="r1")
    assert isinstance(reply, Mapping)
    assert reply["model_id"] == reply.model_id == "ollama:phi"
    assert reply.get("metrics", {}).get("total_latency") == 0.0
    assert reply.get("nothing") is None
    assert "response" in reply
    assert (reply["session_id"], reply["request_id"]) == ("s1", "r1")
    assert list(reply) == list(reply.to_dict())
    assert len(reply) == len(list(reply)) == 10
    assert dict(**reply)["response"] == "Paris"
    with pytest.raises(KeyError):
        reply["nothing"]


def test_a_reply_is_json() -> None:
    client = client_with(edge("Paris"), cloud())
    client.hook_agent(Says("mine", {"state": "fine", "metrics": {"x": 1}}))
    reply = run(client.execute("What is it?"))
    read = json.loads(json.dumps(reply.to_dict()))
    assert read["response"] == "Paris"
    assert read["decision"]["chosen"] == "ollama:phi"
    assert read["agent_checks"]["mine"]["metrics"] == {"x": 1}
    assert read["attempts"][0]["outcome"] == "ok"
    assert read["decision"]["checks"] == read["agent_checks"]


def test_the_footer_is_one_line_that_tells_all() -> None:
    reply = ask(edge([Wait(0.25), "a", Wait(1.0), "b"]), cloud())
    assert footer(reply) == (
        "edge · ollama:phi · 1.2 s (first token 0.25 s) · 2 tok · $0 (saved $0.00009) · simple prompt (0.04), tier 1 of 2"
    )


def test_metrics_are_printed_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    ask(edge("Paris"))
    assert capsys.readouterr() == ("", "")
    ask(edge("Paris"), display_metrics=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edge · ollama:phi · 0.0 s")


def test_a_stream_on_the_terminal_still_gives_the_reply(capsys: pytest.CaptureFixture[str]) -> None:
    reply = ask(edge(["Par", "is"]), stream=True)
    assert capsys.readouterr() == ("Paris\n", "")
    assert reply.response == "Paris"


def test_a_restart_on_the_terminal_is_visible(capsys: pytest.CaptureFixture[str]) -> None:
    reply = ask(edge(["half", Cut()]), cloud("whole"), stream=True)
    out = capsys.readouterr().out
    assert out.startswith("half\n[ollama:phi failed: the answer of ollama:phi ended without the proof")
    assert out.endswith("]\nwhole\n")
    assert reply.response == "whole"


def test_what_was_saved_is_measured_against_the_cheapest_allowed_cloud() -> None:
    cheap = cloud(name="openai:mini")
    cheap.spec = cloud(name="openai:mini", price=PAID).spec
    dear = cloud(name="openai:big", window=1)
    reply = ask(edge(["a", End("stop", Usage(1000, 1000))]), cheap, dear)
    assert reply.metrics["saved_usd"] == pytest.approx(0.04)
    assert ask(edge("a")).metrics["saved_usd"] is None
    paid = ask(edge("a", capabilities=frozenset()), cloud(["a", End("stop", Usage(1000, 1000))]), tools=[{"name": "t"}])
    assert (paid.metrics["cost_usd"], paid.metrics["saved_usd"]) == (pytest.approx(0.04), 0.0)


# --- failing over ---


def test_a_failure_is_told_with_the_answer_of_another() -> None:
    reply = ask(edge([Fail("connect", "connection refused")]), cloud(["Par", "is"]))
    assert reply.response == "Paris"
    assert reply.decision.chosen == "ollama:phi"
    assert [(each.model_id, each.outcome) for each in reply.attempts] == [
        ("ollama:phi", "failed"),
        ("openai:gpt", "ok"),
    ]
    assert reply.why() == "ollama:phi failed (ollama:phi: connection refused); so openai:gpt answered"
    assert footer(reply).startswith("cloud · openai:gpt")


def test_a_buffered_answer_that_breaks_in_the_middle_is_whole_from_another() -> None:
    reply = ask(edge(["half of ", "it", Wait(2.0), Cut()]), cloud([Wait(1.0), "the whole of it"]))
    assert reply.response == "the whole of it"
    assert reply.metrics["total_latency"] == 3.0
    assert reply.metrics["time_to_first_token"] == 3.0


def test_a_model_that_failed_three_times_is_tried_last_until_its_time_is_over() -> None:
    dead = edge([Fail("connect", "refused")])
    alive = cloud("yes")

    async def main() -> list[tuple[str, int]]:
        client = client_with(dead, alive)
        told = []
        for pause in (0.0, 0.0, 0.0, 3.9, 6.1):
            await asyncio.sleep(pause)
            chosen = str((await client.route("What is it?")).chosen)
            await client.execute("What is it?")
            told.append((chosen, len(dead.requests)))
        return told

    home = "ollama:phi"
    assert run(main()) == [(home, 1), (home, 2), (home, 3), ("openai:gpt", 3), (home, 4)]


def test_a_key_that_was_refused_is_out_for_ten_minutes_or_until_new_settings() -> None:
    async def main() -> None:
        locked = cloud([Fail("auth", "HTTP 401")])
        client = client_with(edge("home"), locked)
        with pytest.raises(KeyMissing, match="HTTP 401"):
            await client.execute("hi", model_id="openai:gpt")
        with pytest.raises(KeyMissing, match="its key was refused") as failed:
            await client.execute("hi", model_id="openai:gpt")
        assert failed.value.hint == "Pass api_key=…, set OPENAI_API_KEY, or keep it: oblix keys set openai."
        assert (await client.execute(HARD)).model_id == "ollama:phi"
        assert len(locked.requests) == 1
        await asyncio.sleep(600.0)
        assert (await client.route(HARD)).plan == ("openai:gpt", "ollama:phi")
        with pytest.raises(KeyMissing, match="HTTP 401"):
            await client.execute("hi", model_id="openai:gpt")
        client.hook(cloud("new key"))
        assert (await client.execute("hi", model_id="openai:gpt")).response == "new key"

    run(main())


def test_when_all_fail_the_error_tells_the_whole_story() -> None:
    error = fails(
        edge([Fail("connect", "connection refused", hint="Start it with `ollama serve`.")]),
        cloud([Fail("rate_limited", "slow down")]),
        cloud(name="claude:opus", key="missing"),
        request_id="r1",
    )
    assert isinstance(error, AllModelsFailed)
    assert str(error) == (
        "No model could answer.\n"
        "  edge   ollama:phi: connection refused\n"
        "  cloud  openai:gpt: slow down (3 times)\n"
        "  cloud  claude:opus was not asked: no API key was given, or only a placeholder [OBX-ALL-FAILED]\n"
        "hint: Start it with `ollama serve`."
    )
    assert [each.kind for each in error.attempts] == ["connect"] + ["rate_limited"] * 3
    assert error.decision is not None
    assert error.decision.id == error.request_id == "r1"
    assert error.code == "OBX-ALL-FAILED"


def test_a_prompt_that_no_engine_can_hold_is_an_overflow() -> None:
    error = fails(edge([Fail("context_overflow", "too long")]), cloud([Fail("context_overflow", "too long")]))
    assert isinstance(error, ContextOverflow)
    assert error.hint == "Shorten the prompt, or hook a model with a larger window."


def test_a_deadline_is_kept_to_the_moment() -> None:
    async def main() -> None:
        slow = edge([Block()])
        client = client_with(slow)
        with pytest.raises(DeadlineExceeded, match=r"within the deadline of 2\.5 s") as failed:
            await client.execute("hi", deadline=2.5)
        assert now() == 2.5
        assert [each.kind for each in failed.value.attempts] == ["timeout_total"]
        assert slow.left == 1

    run(main())


def test_without_a_deadline_a_slow_answer_comes() -> None:
    script = [step for number in range(40) for step in (Wait(29.0), f"{number} ")]
    reply = ask(edge(script), deadline=None)
    assert reply.metrics["total_latency"] == 40 * 29.0


def test_a_caller_that_is_cancelled_stops_the_model() -> None:
    async def main() -> None:
        model = edge(["half", Block()])
        client = client_with(model)
        task = asyncio.create_task(client.execute("hi"))
        await asyncio.sleep(3.0)
        assert model.open == 1
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert (model.open, model.left) == (0, 1)
        assert "cancelled" in await client.explain()

    run(main())


# --- who may answer ---


def test_model_id_is_that_model_or_an_error() -> None:
    assert ask(edge(), cloud("cloud"), model_id="openai:gpt").response == "cloud"
    error = fails(edge([Fail("connect")]), cloud(), model_id="ollama:phi")
    assert isinstance(error, AllModelsFailed)
    assert [each.model_id for each in error.attempts] == ["ollama:phi"]


def test_model_id_with_fallback_is_a_preference() -> None:
    reply = ask(edge("home"), cloud([Fail("connect")]), model_id="openai:gpt", fallback=True)
    assert (reply.decision.chosen, reply.model_id) == ("openai:gpt", "ollama:phi")


@pytest.mark.parametrize("name", ["ollama:phi:latest", "ollama:phi"])
def test_latest_is_the_same_ollama_model(name: str) -> None:
    assert ask(edge(), model_id=name).model_id == "ollama:phi"


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("ollama:fi", "Did you mean 'ollama:phi'? Hooked: ollama:phi, openai:gpt."),
        ("phi", "Did you mean 'ollama:phi'? Hooked: ollama:phi, openai:gpt."),
        ("claude:opus", "Hooked: ollama:phi, openai:gpt."),
    ],
)
def test_an_unknown_model_names_the_nearest(wanted: str, hint: str) -> None:
    error = fails(edge(), cloud(), model_id=wanted)
    assert isinstance(error, UnknownModel)
    assert error.message == f"{wanted!r} is not hooked."
    assert error.hint == hint


def test_a_private_prompt_never_reaches_a_cloud_whatever_fails() -> None:
    outside = cloud()
    error = fails(edge([Fail("connect")]), outside, private=True)
    assert isinstance(error, AllModelsFailed)
    assert "openai:gpt was not asked: private prompts stay at home" in str(error)
    error = fails(outside, private=True)
    assert isinstance(error, PrivacyViolation)
    assert error.hint == "Hook or start an edge model; nothing left this machine."
    assert isinstance(fails(edge(), outside, private=True, model_id="openai:gpt"), PrivacyViolation)
    assert outside.requests == []


def test_the_policy_private_holds_without_the_wish() -> None:
    """Also in the request that a provider sees, which its guard goes by."""
    model = edge()
    assert ask(model, cloud(), prompt=HARD, policy="private").decision.privacy.stays_home
    assert model.requests[0].private
    assert isinstance(fails(cloud(), prompt=HARD, policy="private"), PrivacyViolation)


def test_a_policy_may_be_wished_for_one_request() -> None:
    client = client_with(edge("home"), cloud("away"))
    assert run(client.execute("hi", policy="best")).response == "away"
    assert run(client.execute("hi")).response == "home"


def test_a_cost_limit_is_kept() -> None:
    assert ask(edge("home"), cloud("away"), prompt=HARD, max_cost_usd=0.001).response == "home"
    assert ask(edge("home"), cloud("away"), prompt=HARD, max_cost_usd=0.1).response == "away"
    error = fails(cloud(), max_cost_usd=0.001)
    assert isinstance(error, BudgetExceeded)
    assert error.exit_code == 5


def test_a_veto_refuses_with_the_agents_name_and_reason() -> None:
    client = client_with(edge(), cloud())
    client.hook_agent(Says("night_watch", {"proceed": False, "reason": "it is late"}))
    with pytest.raises(Vetoed, match="night_watch refused: it is late"):
        run(client.execute("hi"))


def test_several_reasons_for_nobody_are_all_told() -> None:
    error = fails(edge(capabilities=frozenset()), cloud(key="missing"), tools=[{"name": "t"}])
    assert isinstance(error, NoRoute)
    assert "ollama:phi was not asked: cannot do tools" in str(error)
    assert "openai:gpt was not asked: no API key was given" in str(error)


def test_without_a_model_it_says_how_to_hook_one() -> None:
    with pytest.raises(ConfigurationError, match="No model is hooked") as failed:
        run(OblixClient(store=":memory:").execute("hi"))
    assert failed.value.hint == 'Hook one first: await client.hook_model("ollama", "llama3").'


# --- agents ---


def test_agents_see_the_prompt_the_request_and_the_session() -> None:
    agent = Says("mine", {"state": "fine"})
    client = client_with(edge())
    assert client.hook_agent(agent)
    run(client.execute("What is it?", session_id="s1", private=True))
    (told,) = agent.told
    assert (told["prompt"], told["session_id"]) == ("What is it?", "s1")
    assert isinstance(told["request"], Request)
    assert told["request"].private


def test_a_custom_vote_steers_like_a_built_in_one() -> None:
    for target, answer in (("cloud", "away"), ("local", "home"), ("local_gpu", "home"), ("hybrid", "home")):
        client = client_with(edge("home"), cloud("away"))
        client.hook_agent(Says("mine", {"target": target, "reason": "so I say"}))
        reply = run(client.execute("hi"))
        assert reply.response == answer
        assert reply.agent_checks["mine"].target == target
        assert ("mine: so I say" in reply.decision.why()) == (target != "hybrid")


def test_agents_learn_from_every_attempt() -> None:
    seen: list[Attempt] = []

    class Learner(Says):
        def notice(self, attempt: Attempt) -> None:
            seen.append(attempt)

    class Clumsy(Says):
        def notice(self, attempt: Attempt) -> None:
            raise KeyError("slip")

    client = client_with(edge([Fail("connect")]), cloud())
    client.hook_agent(Clumsy("clumsy", {"state": "fine"}))
    client.hook_agent(Learner("learner", {"state": "fine"}))
    assert run(client.execute("hi")).response == "ok"
    assert [(each.model_id, each.outcome) for each in seen] == [("ollama:phi", "failed"), ("openai:gpt", "ok")]


def test_only_agents_can_be_hooked_as_agents() -> None:
    with pytest.raises(InvalidRequest, match="is no agent"):
        client_with().hook_agent(object())  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InvalidRequest, match="Says is no agent, but the class of one") as failed:
        client_with().hook_agent(Says)  # type: ignore[arg-type]  # wrong on purpose
    assert failed.value.hint == "Call it: hook_agent(Says(...))."


def test_what_an_agent_says_costs_no_answer_whatever_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """Things that cannot be written down are told in the log, once."""
    loop: dict[str, Any] = {}
    loop["self"] = loop
    odd: tuple[Mapping[str, Any], ...] = (
        {"state": "x", "metrics": {("gpu", 0): 1}},
        {"state": "\ud800", "reason": "\ud800"},
        AgentReport(metrics={("gpu", 0): 1}),  # type: ignore[dict-item]  # wrong on purpose
        {"state": "x", "metrics": loop},
    )
    for found in odd:
        client = client_with(edge())
        client.hook_agent(Says("odd", found))

        async def main(client: OblixClient = client) -> None:
            for _ in range(3):
                assert (await client.execute("hi")).response == "ok"

        caplog.clear()
        run(main())
        assert len(caplog.records) <= 1


# --- asking badly ---


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", None], ids=repr)
def test_nothing_asked_nothing_sent(prompt: str | None) -> None:
    model = edge()
    error = fails(model, prompt=prompt)
    assert isinstance(error, InvalidRequest)
    assert isinstance(error, ValueError)
    assert error.exit_code == 2
    assert model.requests == []


@pytest.mark.parametrize(
    "prompt",
    ["a\0b", "lone \ud800 surrogate", "🙂" * 1000, "\u202eright to left", "x" * 200_000],
    ids=lambda p: repr(p[:9]),
)
def test_odd_prompts_are_asked_as_they_are(prompt: str) -> None:
    model = edge("yes")
    client = client_with(model)
    client.hook_agent(Says("mine", {"state": "fine"}))
    assert run(client.execute(prompt)).response == "yes"
    assert model.requests[0].prompt == prompt


def test_an_unknown_wish_names_the_nearest() -> None:
    error = fails(edge(), privat=True)
    assert isinstance(error, InvalidRequest)
    assert error.hint is not None
    assert error.hint.startswith("Did you mean 'private'?")


@pytest.mark.parametrize("call", ["execute", "route", "stream"])
def test_errors_leave_without_a_trail(call: str) -> None:
    """`from None`: what is shown is ours; what caused it is in `.cause`."""

    async def main() -> None:
        client = client_with(edge([Fail("connect")]))
        if call == "stream":
            async with client.stream("hi") as stream:
                await stream.reply()
        else:
            await getattr(client, call)("hi", model_id="nobody:here" if call == "route" else None)

    with pytest.raises(OblixError) as failed:
        run(main())
    error: BaseException = failed.value
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


# --- many at once ---


def test_fifty_prompts_at_once_keep_their_answers_apart() -> None:
    class Echo(ScriptedModel):
        """Answers with its prompt, in its own time."""

        async def stream(self, request: Request, call: Any) -> Any:
            number = int(request.prompt)
            self.requests.append(request)
            await asyncio.sleep(number % 7)
            yield_of = ScriptedModel("x:y", [f"{number}-", Wait(number % 5), str(number)])
            async for chunk in yield_of.stream(request, call):
                yield chunk

    async def main() -> None:
        client = client_with()
        client.hook(Echo("ollama:echo"))
        client.hook_agent(Says("mine", {"state": "fine"}))
        replies = await asyncio.gather(*(client.execute(str(n), session_id=f"s{n}") for n in range(50)))
        assert [reply.response for reply in replies] == [f"{n}-{n}" for n in range(50)]
        assert [reply.session_id for reply in replies] == [f"s{n}" for n in range(50)]
        assert len({reply.request_id for reply in replies}) == 50
        assert [reply.metrics["total_latency"] for reply in replies] == [n % 7 + n % 5 for n in range(50)]
        assert now() == 10.0
        for reply in replies[::10]:
            assert "ollama:echo (edge) answered" in await client.explain(reply.request_id)

    run(main())


# --- looking ---


def test_route_decides_and_asks_nobody() -> None:
    async def main() -> None:
        near, far = edge(), cloud()
        client = client_with(near, far)
        decision = await client.route(HARD)
        assert decision.plan == ("openai:gpt", "ollama:phi")
        assert near.requests == far.requests == []
        with pytest.raises(InvalidRequest, match="is in the log"):
            await client.explain()

    run(main())


def test_what_is_hooked_can_be_looked_at() -> None:
    client = client_with(edge(), edge(name="ollama:llama2"), cloud())
    client.hook_agent(Says("mine", {}))
    assert client.list_models() == {"ollama": ["phi", "llama2"], "openai": ["gpt"]}
    found = client.get_model("ollama", "phi:latest")
    assert found is not None
    assert found.id == "ollama:phi"
    assert client.get_model("ollama", "nobody") is None
    assert [spec.order for spec in client.models.values()] == [0, 1, 2]
    assert list(client.agents) == ["mine"]


def test_a_model_that_is_hooked_again_keeps_its_place_in_the_order() -> None:
    client = client_with(edge("old"), edge(name="ollama:llama2"))
    client.hook(edge("new"))
    assert [(spec.id, spec.order) for spec in client.models.values()] == [("ollama:phi", 0), ("ollama:llama2", 1)]
    assert run(client.execute("hi")).response == "new"


def test_closing_closes_the_models() -> None:
    async def main() -> None:
        model = edge("yes")
        async with client_with(model) as client:
            await client.execute("hi")
        assert model.is_closed
        assert (await client.execute("hi")).response == "yes"

    run(main())
