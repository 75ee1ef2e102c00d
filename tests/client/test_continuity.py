"""What a client remembers between the turns of a conversation."""

from __future__ import annotations

from dataclasses import replace

from oblix.client import continuity
from oblix.client.continuity import Continuity
from oblix.types.messages import Message, Role
from oblix.types.request import Request

SECRET = "The patient of room 12 has a broken leg."
ANSWER = "Then the patient of room 12 needs a cast."


def request(*texts: str, session_id: str | None = None, system: str = "", first: Role = "user") -> Request:
    """A conversation whose turns alternate."""
    roles: tuple[Role, Role] = ("user", "assistant") if first == "user" else ("assistant", "user")
    turns = tuple(Message(roles[number % 2], text) for number, text in enumerate(texts))
    return Request("01", (Message("system", system), *turns) if system else turns, session_id=session_id)


def after(
    asked: Request, answer: str = ANSWER, *, is_private: bool = False, model_id: str = "ollama:phi"
) -> Continuity:
    memory = Continuity()
    memory.answered(asked, answer, model_id=model_id, tokens=40, now=100.0)
    if is_private:
        memory.taint(asked, answer)
    return memory


def test_a_first_turn_has_none_before_it() -> None:
    assert Continuity().before(request("hi"), 0.0) is None
    assert after(request("hi")).before(request("hi"), 101.0) is None


def test_who_sends_the_messages_again_with_the_answer_goes_on() -> None:
    turn = after(request("hi", system="Be kind.")).before(request("hi", ANSWER, "and now?", system="Be kind."), 107.5)
    assert turn is not None
    assert (turn.model_id, turn.tokens, turn.ago) == ("ollama:phi", 40, 7.5)


def test_another_answer_is_another_conversation() -> None:
    memory = after(request("hi", system="Be kind."))
    assert memory.before(request("hi", "Something else.", "and now?", system="Be kind."), 101.0) is None
    assert memory.before(request("hi", ANSWER, "and now?", system="Be rude."), 101.0) is None


def test_a_session_goes_on_whatever_its_messages() -> None:
    memory = after(request("hi", session_id="s1"))
    turn = memory.before(request("what else?", session_id="s1"), 101.0)
    assert turn is not None
    assert turn.model_id == "ollama:phi"
    assert memory.before(request("what else?", session_id="s2"), 101.0) is None


def test_a_label_sticks_while_the_message_is_in_the_context() -> None:
    memory = after(request(SECRET), is_private=True)
    assert memory.is_tainted(request(SECRET, ANSWER, "go on"))
    assert memory.is_tainted(
        request("Hello there, my good friend.", "Hello.", SECRET, "I see.", "go on")
    )  # elsewhere as well
    assert not memory.is_tainted(request("What is the capital of France?", "Paris.", "go on"))


def test_the_answer_to_a_private_prompt_is_private_too() -> None:
    memory = after(request(SECRET), is_private=True)
    assert memory.is_tainted(request(ANSWER, "go on", first="assistant"))


def test_a_private_prompt_is_remembered_although_it_was_not_answered() -> None:
    memory = Continuity()
    memory.taint(request(SECRET))
    assert memory.is_tainted(request(SECRET, "Hello.", "go on"))


def test_the_newest_message_is_the_callers_to_label() -> None:
    """The same prompt may be asked again in public: only the context taints."""
    assert not after(request(SECRET), is_private=True).is_tainted(request(SECRET))


def test_a_label_is_released_when_the_message_is_trimmed_away() -> None:
    memory = after(request(SECRET), is_private=True)
    assert not memory.is_tainted(request("What is the capital of France?", "Paris.", "And of Spain?"))


def test_short_words_taint_only_in_their_place() -> None:
    """`yes` is a message of every other conversation."""
    memory = after(request("yes"), "fine", is_private=True)
    assert memory.is_tainted(request("yes", "fine", "more"))
    assert not memory.is_tainted(request("Shall we?", "I ask you.", "yes", "fine", "more"))


def test_a_shared_system_prompt_makes_nothing_private() -> None:
    system = "You are a helpful assistant of a large hospital."
    memory = after(request(SECRET, system=system), is_private=True)
    assert not memory.is_tainted(request("Hello there, my good friend.", "Hello.", "go on", system=system))


def test_what_was_not_private_taints_nothing() -> None:
    assert not after(request(SECRET)).is_tainted(request(SECRET, ANSWER, "go on"))


def test_memory_is_bounded() -> None:
    memory = Continuity()
    for number in range(continuity.CONVERSATIONS + 10):
        asked = request("hi", session_id=f"s{number}")
        memory.answered(asked, "x", model_id="a:b", tokens=1, now=0.0)
    assert len(memory._last) == continuity.CONVERSATIONS
    assert memory.before(request("hi", session_id="s0"), 0.0) is None


def test_no_word_is_kept() -> None:
    memory = after(replace(request(SECRET), session_id="ward 12"), is_private=True)
    kept = repr((memory._last, memory._private))
    assert "patient" not in kept
    assert "ward" not in kept
