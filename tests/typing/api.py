"""The public API as type checkers see it: checked by mypy and pyright, never run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, assert_type

from oblix import (
    AgentReport,
    AllModelsFailed,
    BaseAgent,
    BudgetExceeded,
    Candidate,
    Decision,
    FailureKind,
    Image,
    Message,
    ModelSpec,
    ModelType,
    OblixClient,
    OblixError,
    Price,
    Reason,
    Reply,
    Reset,
    Stream,
    StreamBroken,
    Text,
    Timeouts,
    Tool,
    ToolCall,
    __version__,
)
from oblix.agents import ConnectivityAgent, CostAgent, ResourceMonitor
from oblix.client.books import Approve
from oblix.ledger.report import Spend, Sums
from oblix.sync import OblixClient as SyncClient
from oblix.sync import Stream as SyncStream
from oblix.testing import Block, Cut, Enter, Fail, ScriptedModel, VirtualClockLoop, Wait, run
from oblix.types.attempt import Attempt
from oblix.types.money import Limit, Room
from oblix.types.request import Request


async def hooks() -> None:
    client = OblixClient("key", "localhost", 4321, config_path=None, policy="balanced", store=Path("x.db"))
    assert_type(await client.hook_model(ModelType.OLLAMA, "phi"), bool)
    assert_type(
        await client.hook_model("openai", "gpt", endpoint="http://x", api_key="k", tier=2, price=(1.0, 2.0)), bool
    )
    assert_type(await client.hook_model("vllm", "phi", timeouts=Timeouts(first_token=2.0), prefill=True), bool)
    assert_type(client.hook_agent(ResourceMonitor(custom_thresholds={"cpu_threshold": 90})), bool)
    assert_type(client.hook_agent(ConnectivityAgent(latency_threshold=100.0, check_interval=15)), bool)
    assert_type(client.hook(ScriptedModel("ollama:phi")), None)
    assert_type(client.list_models(), dict[str, list[str]])
    assert_type(client.get_model(ModelType.OLLAMA, "phi"), ModelSpec | None)
    assert_type(client.models, Mapping[str, ModelSpec])
    assert_type(client.agents, Mapping[str, BaseAgent])
    assert_type(await client.get_resource_metrics(), dict[str, Any])
    assert_type(await client.get_connectivity_metrics(), dict[str, Any])
    assert_type(await client.shutdown(), None)
    async with OblixClient() as inner:
        assert_type(inner, OblixClient)
    assert_type(await OblixClient.auto(cloud=True, policy="balanced"), OblixClient)
    assert_type(await client.status(), dict[str, Any])


async def asks(client: OblixClient) -> None:
    reply = await client.execute(
        "hi",
        "ollama:phi",
        temperature=0.5,
        max_tokens=9,
        request_id="r1",
        display_metrics=True,
        session_id="s1",
        stream=True,
        deadline=None,
        messages=[Message("user", "hi"), {"role": "assistant", "content": "ho"}],
        system="be brief",
        tools=[Tool("look"), {"name": "see"}],
        tool_choice="auto",
        response_format={"type": "object"},
        images=[b"", "x.png", Path("x.png")],
        stop="end",
        seed=1,
        top_p=0.9,
        private=True,
        tags=("a",),
        max_cost_usd=0.1,
        policy="best",
        fallback=True,
        on_break="restart",
        logprobs=2,
        provider_options={"keep_alive": "1m"},
    )
    assert_type(reply, Reply)
    assert_type(reply.response, str)
    assert_type(reply.model_id, str)
    assert_type(reply["model_id"], Any)
    assert_type(reply.metrics, Mapping[str, Any])
    assert_type(reply.agent_checks, Mapping[str, AgentReport])
    assert_type(reply.decision, Decision)
    assert_type(reply.attempts, tuple[Attempt, ...])
    assert_type(reply.session_id, str | None)
    assert_type(reply.finish_reason, str)
    assert_type(reply.tool_calls, tuple[ToolCall, ...])
    assert_type(reply.to_dict(), dict[str, Any])
    assert_type(reply.why(), str)
    for name, report in reply["agent_checks"].items():
        print(name, report.get("state"))
    decision = await client.route("hi", model_id="ollama:phi", private=True)
    assert_type(decision, Decision)
    assert_type(decision.chosen, str | None)
    assert_type(decision.plan, tuple[str, ...])
    assert_type(decision.candidates, tuple[Candidate, ...])
    assert_type(decision.reasons, tuple[Reason, ...])
    assert_type(await client.explain(), str)


async def streams(client: OblixClient) -> None:
    stream = client.stream("hi", on_break="restart")
    assert_type(stream, Stream)
    async with stream as s:
        assert_type(s, Stream)
        async for piece in s:
            assert_type(piece, str | Reset)
        assert_type(await s.reply(), Reply)


async def money(client: OblixClient) -> None:
    agent = CostAgent(2.5, "mine", monthly_budget=40)
    assert_type(client.hook_agent(agent), bool)
    assert_type((agent.daily_budget, agent.monthly_budget), tuple[float, float | None])
    assert_type(agent.limits, tuple[Limit, ...])
    assert_type(await agent.check(), AgentReport)
    found = await client.spend("model", since=date(2026, 11, 1))
    assert_type(found, Spend)
    assert_type((found.usd, found.total.saved_usd), tuple[float, float])
    assert_type(found.rows, Mapping[str, Sums])
    assert_type(found.to_dict(), dict[str, Any])

    async def ask(over: BudgetExceeded) -> bool:
        assert_type(over.room, Room | None)
        return False

    client.approve_over_budget = ask
    client.approve_over_budget = lambda over: over.room is not None
    client.approve_over_budget = None
    approve: Approve | None = client.approve_over_budget
    print(approve)


async def sessions(client: OblixClient) -> None:
    assert_type(await client.create_session("t", {"system": "be brief"}, {"tag": 1}), str)
    assert_type(await client.create_and_use_session(title="t", initial_context=None, metadata=None), str)
    assert_type(client.use_session("s"), bool)
    assert_type(client.use_session(None), bool)
    client.current_session_id = None
    current: str | None = client.current_session_id
    print(current)
    assert_type(client.list_sessions(limit=5, filter_metadata={"project.name": "x"}), list[dict[str, Any]])
    assert_type(client.find_session("s"), str)
    assert_type(client.load_session("s"), dict[str, Any] | None)
    assert_type(client.delete_session("s"), bool)
    assert_type(client.rename_session("s", "t"), bool)
    assert_type(client.update_session_metadata("s", {"tag": None}), bool)
    assert_type(client.get_session_metadata("s"), dict[str, Any] | None)
    assert_type(await client.add_messages("s", [Message("user", "hi"), {"role": "assistant", "content": "ho"}]), None)
    assert_type(client.pin_message("s", "m"), bool)
    assert_type(client.unpin_message("s", "m"), bool)
    found = await client.search_sessions("words", limit=5, session_id="s", role="user", filter_metadata={})
    assert_type(found, list[dict[str, Any]])
    assert_type(await client.export_session("s", "x.json"), bool)
    assert_type(await client.export_session("s", file_path=Path("x.json")), bool)
    assert_type(await client.import_session(Path("x.json"), new_id=False, use_immediately=True), str | None)
    assert_type(await client.import_session(file_path="x.json"), str | None)
    assert_type(await client.merge_sessions(["a", "b"], title="t", use_immediately=True), str | None)
    assert_type(await client.merge_sessions(session_ids=("a", "b")), str | None)
    assert_type(await client.copy_session("s", new_title="t", use_immediately=True), str | None)
    assert_type(await client.fork_session("s", "m", title="t", use_immediately=True), str | None)
    assert_type(await client.chat_once("hi", session_id="s", private=True), Reply)
    assert_type(await client.start_chat("s", system="be brief"), str)
    assert_type(await client.chat_streaming(session_id=None, max_cost_usd=0.1), str)


def blocks() -> None:
    with SyncClient(policy="private") as client:
        assert_type(client, SyncClient)
        assert_type(SyncClient.auto(), SyncClient)
        assert_type(client.hook_model("ollama", "phi"), bool)
        assert_type(client.execute("hi", private=True), Reply)
        assert_type(client.route("hi"), Decision)
        assert_type(client.explain(), str)
        with client.stream("hi") as s:
            assert_type(s, SyncStream)
            for piece in s:
                assert_type(piece, str | Reset)
            assert_type(s.reply(), Reply)


def blocks_on_money(client: SyncClient) -> None:
    assert_type(client.hook_agent(CostAgent(daily_budget=5.0)), bool)
    assert_type(client.spend(), Spend)
    assert_type(client.spend(by="tag", since="7d"), Spend)

    def ask(over: BudgetExceeded) -> bool:
        return over.room is not None

    client.approve_over_budget = ask
    approve: Approve | None = client.approve_over_budget
    print(approve)


def blocks_on_sessions(client: SyncClient) -> None:
    assert_type(client.create_session("t", {"system": "be brief"}, {"tag": 1}), str)
    assert_type(client.create_and_use_session(title="t"), str)
    assert_type(client.use_session(None), bool)
    client.current_session_id = "s"
    current: str | None = client.current_session_id
    print(current)
    assert_type(client.list_sessions(limit=5, filter_metadata={"tag": 1}), list[dict[str, Any]])
    assert_type(client.find_session("s"), str)
    assert_type(client.load_session("s"), dict[str, Any] | None)
    assert_type(client.delete_session("s"), bool)
    assert_type(client.rename_session("s", "t"), bool)
    assert_type(client.update_session_metadata("s", {"tag": None}), bool)
    assert_type(client.get_session_metadata("s"), dict[str, Any] | None)
    assert_type(client.add_messages("s", [Message("user", "hi"), {"role": "assistant", "content": "ho"}]), None)
    assert_type(client.pin_message("s", "m"), bool)
    assert_type(client.unpin_message("s", "m"), bool)
    found = client.search_sessions("words", limit=5, session_id="s", role="user", filter_metadata={})
    assert_type(found, list[dict[str, Any]])
    assert_type(client.export_session("s", file_path="x.json"), bool)
    assert_type(client.import_session(Path("x.json"), new_id=False, use_immediately=True), str | None)
    assert_type(client.merge_sessions(["a", "b"], title="t", use_immediately=True), str | None)
    assert_type(client.copy_session("s", new_title="t"), str | None)
    assert_type(client.fork_session("s", "m", title="t"), str | None)
    assert_type(client.chat_once("hi", session_id="s", private=True), Reply)
    assert_type(client.start_chat("s", system="be brief"), str)
    assert_type(client.chat_streaming(session_id=None, max_cost_usd=0.1), str)


class Budget(BaseAgent):
    """An agent as a user writes one: dicts are welcome."""

    async def check(self, **kwargs: Any) -> dict[str, Any]:
        return {"proceed": True, "target": "local"}


class Night(BaseAgent):
    """Reports are, too."""

    fail_closed = True

    async def initialize(self) -> bool:
        return await super().initialize()

    async def check(self, **kwargs: Any) -> AgentReport:
        return AgentReport(True, "quiet", "cloud", "it is late", metrics={"hour": 23})

    def notice(self, attempt: Attempt) -> None:
        assert_type(attempt.outcome == "ok", bool)


class Own(ResourceMonitor):
    """So are descendants of ours."""

    async def check(self, **kwargs: Any) -> AgentReport:
        return await super().check(**kwargs)


def reports(report: AgentReport) -> None:
    assert_type(report["state"], Any)
    assert_type(report.proceed, bool)
    assert_type(report.metrics, Mapping[str, Any])


def errors(error: OblixError) -> None:
    assert_type(error.code, str)
    assert_type(error.hint, str | None)
    assert_type(error.decision, Decision | None)
    assert_type(error.attempts, tuple[Attempt, ...])
    assert_type(error.request_id, str | None)
    assert_type(error.cause, BaseException | None)
    if isinstance(error, StreamBroken):
        assert_type(error.text, str)
        assert_type(error.kind, FailureKind)
    if isinstance(error, AllModelsFailed):
        assert_type(error.message, str)


def values() -> None:
    version: str = __version__
    print(version)
    assert_type(Price(1.0, 2.0, "caller").cost(1, 2), float)
    assert_type(Message("user", (Text("a"), Image("image/png", "x"))).text, str)


def test_tools(request: Request) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualClockLoop):
            loop.advance(1.0)
        return 1

    async def later(request: Request) -> None:
        assert_type(request.prompt, str)

    assert_type(run(main()), int)
    model = ScriptedModel(
        "ollama:phi",
        "a text",
        ["a", Wait(1.0), Enter("load"), Fail("connect"), Fail(FailureKind.AUTH), Cut(), Block(), later, KeyError()],
        place="cloud",
    )
    assert_type(model.requests, list[Request])
    scripts: Sequence[str] = ("a", "b")
    assert_type(ScriptedModel("ollama:phi", *scripts), ScriptedModel)
