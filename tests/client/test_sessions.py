"""Conversations that are kept: what goes before a prompt, what fits, what breaks, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from oblix import (
    AllModelsFailed,
    DeadlineExceeded,
    Message,
    OblixClient,
    StreamBroken,
)
from oblix.decision.tokens import estimate_messages
from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.testing import Block, Cut, Fail, ScriptedModel, Wait, run
from oblix.types.chunk import Chunk, Delta, End, Usage
from oblix.types.messages import Thought, ToolCall
from oblix.types.request import Request

from .hooked import client_with, cloud, edge
from .outside import program
from .talks import asked, kept

# --- the path ---


def test_what_was_said_goes_before_the_next_prompt() -> None:
    async def main() -> None:
        model = edge("Paris.", "Rome.", "Berlin.")
        client = client_with(model)
        for prompt in ("And of France?", "Of Italy?", "Of Germany?"):
            reply = await client.execute(prompt, session_id="s1")
            assert reply.session_id == "s1"
        assert asked(model) == [
            "user: And of France?",
            "assistant: Paris.",
            "user: Of Italy?",
            "assistant: Rome.",
            "user: Of Germany?",
        ]
        assert kept(client, "s1")[-2:] == [("user", "Of Germany?", "whole"), ("assistant", "Berlin.", "whole")]
        await client.execute("Hello", session_id="s2")
        assert asked(model) == ["user: Hello"]

    run(main())


def test_the_answer_is_kept_before_the_caller_has_it(tmp_path: Path) -> None:
    async def main() -> None:
        client, other = (client_with(edge(["Par", "is"]), store=tmp_path / "d.db") for _ in range(2))
        async with client.stream("hi", session_id="s1") as stream:
            assert await anext(stream) == "Par"
            assert await asyncio.to_thread(kept, other, "s1") == [("user", "hi", "open")]
            await stream.reply()
            assert kept(other, "s1") == [("user", "hi", "whole"), ("assistant", "Paris", "whole")]

    asyncio.run(main())


def test_a_conversation_goes_on_in_another_client_and_on_another_model(tmp_path: Path) -> None:
    async def main() -> None:
        home, away = edge("It is 4711."), cloud("You said 4711.")
        async with client_with(home, store=tmp_path / "d.db") as client:
            await client.execute("Remember my number.", session_id="s1")
        async with client_with(away, home, store=tmp_path / "d.db") as client:
            reply = await client.execute("What was it?", session_id="s1", model_id="openai:gpt")
            assert asked(away) == ["user: Remember my number.", "assistant: It is 4711.", "user: What was it?"]
            assert reply.model_id == "openai:gpt"
            await client.execute("Sure?", session_id="s1", model_id="ollama:phi")
            assert asked(home)[-2:] == ["assistant: You said 4711.", "user: Sure?"]

    asyncio.run(main())


def test_two_processes_speak_in_one_session(tmp_path: Path) -> None:
    text = """
        import asyncio, sys
        from oblix import OblixClient
        from oblix.testing import ScriptedModel

        async def main():
            client = OblixClient()
            client.hook(ScriptedModel("ollama:phi", "ok"))
            for number in range(20):
                await client.execute(f"{sys.argv[1]}{number}", session_id="s1")

        asyncio.run(main())
    """

    async def both() -> None:
        ran = await asyncio.gather(
            *(asyncio.to_thread(program, text, tmp_path / who, who, environ=home) for who in "ab")
        )
        assert [(each.returncode, each.stderr) for each in ran] == [(0, ""), (0, "")]

    home = {"OBLIX_HOME": str(tmp_path)}
    asyncio.run(both())
    said = kept(OblixClient(store=tmp_path / "oblix.db"), "s1")
    assert len(said) == 80
    for who in "ab":
        assert [text for role, text, _ in said if role == "user" and text[0] == who] == [f"{who}{n}" for n in range(20)]


def test_the_current_session_is_that_of_requests_that_name_none() -> None:
    async def main() -> None:
        model = edge("one", "two", "three")
        client = client_with(model)
        session = await client.create_and_use_session("Capitals", metadata={"project": "atlas"})
        assert client.current_session_id == session
        assert (await client.execute("France?")).session_id == session
        async with client.stream("Italy?") as stream:
            assert (await stream.reply()).session_id == session
        assert asked(model)[:2] == ["user: France?", "assistant: one"]
        assert client.use_session(None)
        assert (await client.execute("Alone")).session_id is None
        assert not client.use_session("there is none")
        assert asked(model) == ["user: Alone"]

    run(main())


def test_the_callers_own_conversation_stands_in_the_place_of_what_is_kept() -> None:
    async def main() -> None:
        model = edge("one", "two")
        client = client_with(model)
        await client.execute("first", session_id="s1")
        brought = [{"role": "user", "content": "other"}, {"role": "assistant", "content": "words"}]
        await client.execute("second", session_id="s1", messages=brought)
        assert asked(model) == ["user: other", "assistant: words", "user: second"]
        assert [text for _, text, _ in kept(client, "s1")] == ["first", "one", "second", "two"]

    run(main())


def test_a_system_prompt_is_the_sessions_own_or_the_requests() -> None:
    async def main() -> None:
        model = edge("ok")
        client = client_with(model)
        session = await client.create_session(initial_context={"system": "Be brief."})
        await client.execute("one", session_id=session)
        assert asked(model) == ["system: Be brief.", "user: one"]
        await client.execute("two", session_id=session, system="Be long.")
        assert asked(model) == ["system: Be long.", "user: one", "assistant: ok", "user: two"]
        await client.execute("three", session_id=session)
        assert asked(model)[0] == "system: Be brief."
        assert [role for role, _, _ in kept(client, session)] == ["user", "assistant"] * 3

    run(main())


def test_an_answer_whose_beginning_the_caller_wrote_is_kept_whole_behind_its_question() -> None:
    async def main() -> None:
        model = edge(' "b"]', "ok")
        client = client_with(model)
        talk = [{"role": "user", "content": "First"}, {"role": "assistant", "content": "Yes."}]
        begun = [{"role": "user", "content": "List two."}, {"role": "assistant", "content": '["a",'}]
        assert (await client.execute(messages=[*talk, *begun], session_id="s1")).response == ' "b"]'
        assert kept(client, "s1") == [("user", "List two.", "whole"), ("assistant", '["a", "b"]', "whole")]
        await client.execute("And now?", session_id="s1")
        assert asked(model) == ["user: List two.", 'assistant: ["a", "b"]', "user: And now?"]

    run(main())


# --- what does not fit ---


def test_each_candidate_gets_what_fits_its_window_and_the_cut_is_told() -> None:
    async def main() -> None:
        home, away = edge([Fail("connect", "gone")], window=600), cloud("well", window=100_000)
        client = client_with(home, away, policy="offline_first")
        await client.add_messages(
            "s1", [Message("user" if n % 2 == 0 else "assistant", f"{n} " + "word " * 100) for n in range(20)]
        )
        reply = await client.execute("And now?", session_id="s1")
        assert (reply.model_id, reply.metrics["cut_messages"]) == ("openai:gpt", 0)
        assert len(away.requests[0].messages) == 21
        tried, answered = reply.attempts
        assert (tried.model_id, answered.cut) == ("ollama:phi", 0)
        assert tried.cut == 21 - len(home.requests[0].messages) > 10
        assert home.requests[0].messages[0].role == "user"
        assert asked(home)[-1] == "user: And now?"

    run(main())


def test_a_model_whose_window_shows_when_it_is_loaded_gets_what_fits_it() -> None:
    async def main() -> None:
        model = Late("embedded:small", "ok", load_seconds=1.0, window=None)
        client = client_with(model)
        await client.add_messages("s1", [Message("user", f"{n} " + "word " * 100) for n in range(20)])
        reply = await client.execute("And now?", session_id="s1")
        assert reply.metrics["cut_messages"] > 10

    class Late(ScriptedModel):
        def state(self) -> ModelState:
            state = super().state()
            return replace(state, window=600 if state.loaded else None)

    run(main())


def test_the_pinned_and_the_system_prompt_stay_when_others_are_cut() -> None:
    async def main() -> None:
        model = edge("ok", window=600)
        client = client_with(model)
        session = await client.create_session(initial_context={"system": "Be brief."})
        await client.execute("My name is Ada.", session_id=session)
        found = client.load_session(session)
        assert found is not None
        assert client.pin_message(session, found["messages"][0]["id"])
        for number in range(10):
            await client.execute(f"{number} " + "word " * 50, session_id=session)
        reply = await client.execute("Who am I?", session_id=session)
        told = asked(model)
        assert told[0] == "system: Be brief."
        assert told[1] == "user: My name is Ada."
        assert reply.metrics["cut_messages"] > 10
        assert client.unpin_message(session, found["messages"][0]["id"])
        await client.execute("And now?", session_id=session)
        assert "user: My name is Ada." not in asked(model)

    run(main())


def test_how_a_model_counts_is_learned_before_its_window_is_full() -> None:
    """Code has twice the tokens of our estimate, say: a conversation of it goes on, and never overflows."""

    def failed(counted: int) -> AttemptFailed:
        error = AttemptFailed(FailureKind.CONTEXT_OVERFLOW, "too long")
        error.tokens, error.window = counted, 2000
        return error

    class Dense(ScriptedModel):
        async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            counted = 2 * estimate_messages(request.messages)
            self.requests.append(request)
            if counted > 2000:
                raise failed(counted)
            yield Delta("x" * 100)
            yield End("stop", Usage(counted, 30))

    async def main() -> None:
        client = client_with(Dense("ollama:phi", window=2000))
        for number in range(30):
            reply = await client.execute(f"{number} " + "word " * 20, session_id="s1")
        assert reply.metrics["cut_messages"] > 20
        assert {attempt.outcome for attempt in reply.attempts} == {"ok"}

    run(main())


# --- what breaks ---


def test_a_broken_answer_is_kept_as_such_and_never_fed_back() -> None:
    async def main() -> None:
        model = edge(["half an ans", Cut()], "whole")
        client = client_with(model)
        with pytest.raises(StreamBroken):
            async with client.stream("one", session_id="s1") as stream:
                await stream.reply()
        assert kept(client, "s1") == [("user", "one", "incomplete"), ("assistant", "half an ans", "incomplete")]
        await client.execute("two", session_id="s1")
        assert asked(model) == ["user: two"]

    run(main())


@pytest.mark.parametrize(("reason", "state"), [
    ("stop", "whole"), ("length", "whole"), ("budget", "incomplete"), ("content_filter", "incomplete"),
])  # fmt: skip
def test_what_is_fed_back_of_an_answer_that_was_cut(reason: str, state: str) -> None:
    """What the caller bounded goes on; what a budget or a filter stopped does not."""

    async def main() -> None:
        model = edge(["half an ans", End(reason)], "whole")
        client = client_with(model)
        assert (await client.execute("one", session_id="s1")).response == "half an ans"
        assert kept(client, "s1") == [("user", "one", state), ("assistant", "half an ans", state)]
        found = client.load_session("s1")
        assert found is not None
        assert found["messages"][1].get("finish_reason", "stop") == reason
        await client.execute("two", session_id="s1")
        before = ["user: one", "assistant: half an ans"] if state == "whole" else []
        assert asked(model) == [*before, "user: two"]

    run(main())


def test_a_question_without_an_answer_is_not_asked_again() -> None:
    async def main() -> None:
        model = edge([Fail("connect", "gone")], "whole")
        client = client_with(model)
        with pytest.raises(AllModelsFailed):
            await client.execute("one", session_id="s1")
        assert kept(client, "s1") == [("user", "one", "incomplete")]
        await client.execute("two", session_id="s1")
        assert asked(model) == ["user: two"]

    run(main())


@pytest.mark.parametrize("leaves", ["stream", "task", "deadline"])
def test_who_leaves_leaves_what_was_said_so_far(leaves: str) -> None:
    async def main() -> None:
        model = edge(["so far", Block()], "whole")
        client = client_with(model)

        async def listen() -> None:
            async with client.stream("one", session_id="s1", deadline=5.0) as stream:
                async for _ in stream:
                    if leaves == "stream":
                        return

        task = asyncio.create_task(listen())
        if leaves == "task":
            await asyncio.sleep(1.0)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert kept(client, "s1") == [("user", "one", "incomplete"), ("assistant", "so far", "incomplete")]
        await client.execute("two", session_id="s1")
        assert asked(model) == ["user: two"]

    run(main())


def test_what_was_restarted_is_kept_once() -> None:
    async def main() -> None:
        client = client_with(edge(["half", Cut()]), cloud("whole"), policy="offline_first")
        async with client.stream("one", session_id="s1", on_break="restart") as stream:
            await stream.reply()
        assert kept(client, "s1") == [("user", "one", "whole"), ("assistant", "whole", "whole")]

    run(main())


# --- tools and thoughts ---


def test_tool_calls_their_results_and_thoughts_are_kept() -> None:
    async def main() -> None:
        call, thought = ToolCall("c1", "weather", '{"city": "Rome"}'), Thought("claude", {"type": "thinking"})
        model = edge([End("tool_calls", tool_calls=(call,), thoughts=(thought,))], "Sunny.")
        client = client_with(model)
        tools = [{"name": "weather"}]
        reply = await client.execute("How is the weather in Rome?", session_id="s1", tools=tools)
        assert reply.tool_calls == (call,)
        result = {"role": "tool", "tool_call_id": "c1", "content": "22 degrees"}
        await client.execute(messages=[result], session_id="s1", tools=tools)
        first, second, third = model.requests[-1].messages
        assert (first.role, second.role, third.role) == ("user", "assistant", "tool")
        assert second.tool_calls == (call,)
        assert second.thoughts == (thought,)
        assert third.tool_call_id == "c1"
        assert [role for role, _, _ in kept(client, "s1")] == ["user", "assistant", "tool", "assistant"]

    run(main())


# --- one after the other ---


def test_simultaneous_calls_on_one_session_are_put_in_order() -> None:
    async def main() -> None:
        model = edge(*([Wait(1.0), f"answer {n}"] for n in range(5)))
        client = client_with(model)
        replies = await asyncio.gather(*(client.execute(f"question {n}", session_id="s1") for n in range(5)))
        assert [str(reply) for reply in replies] == [f"answer {n}" for n in range(5)]
        assert asked(model) == [
            each for n in range(4) for each in (f"user: question {n}", f"assistant: answer {n}")
        ] + ["user: question 4"]
        assert model.asked_at == [0.0, 1.0, 2.0, 3.0, 4.0]

    run(main())


def test_other_sessions_do_not_wait() -> None:
    async def main() -> None:
        model = edge([Wait(1.0), "ok"])
        client = client_with(model)
        await asyncio.gather(*(client.execute("hi", session_id=f"s{n}") for n in range(5)))
        assert model.asked_at == [0.0] * 5

    run(main())


def test_the_wait_for_ones_turn_is_part_of_the_deadline() -> None:
    async def main() -> None:
        client = client_with(edge([Wait(10.0), "ok"]))
        first = asyncio.create_task(client.execute("one", session_id="s1"))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded, match="an earlier call"):
            await client.execute("two", session_id="s1", deadline=2.0)
        assert str(await first) == "ok"
        assert kept(client, "s1") == [("user", "one", "whole"), ("assistant", "ok", "whole")]

    run(main())


def test_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    async def main() -> None:
        model = edge([Wait(10.0), "first"], "third")
        client = client_with(model)
        calls = [asyncio.create_task(client.execute(f"{n}", session_id="s1")) for n in range(3)]
        await asyncio.sleep(1.0)
        calls[1].cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(found[1], asyncio.CancelledError)
        assert asked(model) == ["user: 0", "assistant: first", "user: 2"]

    run(main())
