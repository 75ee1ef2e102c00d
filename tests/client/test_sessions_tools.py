"""Tools in conversations that are kept: a loop goes on with its question and its calls, however long a result is."""

from __future__ import annotations

from typing import Any

import pytest

from oblix import InvalidRequest
from oblix.testing import run
from oblix.types.chunk import End
from oblix.types.messages import ToolCall

from .hooked import client_with, edge
from .talks import kept

TOOLS = [{"name": "read"}]
HUGE = "line of a file " * 12_000  # more than all that goes before a prompt otherwise


def call(number: int) -> list[Any]:
    return [End("tool_calls", tool_calls=(ToolCall(f"c{number}", "read", "{}"),))]


def result(number: int, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": text}


def test_a_result_that_is_longer_than_all_room_keeps_the_question_and_the_call() -> None:
    async def main() -> None:
        model = edge("hello", call(1), call(2), "done", "well", window=200_000)
        client = client_with(model)
        await client.execute("an earlier turn", session_id="s1")
        await client.execute("Compare the two files.", session_id="s1", tools=TOOLS)
        for number, text in ((1, HUGE), (2, "short")):
            await client.execute(messages=[result(number, text)], session_id="s1", tools=TOOLS)
        assert [(each.role, each.text[:7]) for each in model.requests[-1].messages] == [
            ("user", "Compare"), ("assistant", ""), ("tool", "line of"), ("assistant", ""), ("tool", "short"),
        ]  # fmt: skip
        reply = await client.execute("And now?", session_id="s1")  # a new turn: the long one is paid for no more
        assert [each.text for each in model.requests[-1].messages] == ["And now?"]
        assert reply.metrics["cut_messages"] == 8

    run(main())


def test_a_result_without_its_call_is_an_error_and_nothing_is_sent() -> None:
    async def main() -> None:
        model = edge(call(1), "done")
        client = client_with(model)
        await client.execute("Read it.", session_id="s1", tools=TOOLS)
        for session, which in (("s1", 7), ("s2", 1)):
            with pytest.raises(InvalidRequest, match=f"Session '{session}' does not hold the call .* 'c{which}'"):
                await client.execute(messages=[result(which, "text")], session_id=session, tools=TOOLS)
        with pytest.raises(InvalidRequest, match="the result 'without an id'"):
            await client.execute(messages=[{"role": "tool", "content": "x"}], session_id="s2", tools=TOOLS)
        assert len(model.requests) == 1
        await client.execute(messages=[{"role": "tool", "content": "text"}], session_id="s1", tools=TOOLS)
        assert [role for role, _, _ in kept(client, "s1")] == ["user", "assistant", "tool", "assistant"]
        assert client.load_session("s2") is None

    run(main())
