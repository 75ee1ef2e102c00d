"""What a client remembers between the turns of a conversation."""

from __future__ import annotations

from oblix.client import continuity
from oblix.client.continuity import Continuity
from oblix.decision.facts import Turn
from oblix.types.messages import Message, Role, ToolCall

SECRET = "The patient of room 12 has a broken leg."
ANSWER = "Then the patient of room 12 needs a cast."
LONG_ANSWER = f"{ANSWER} It stays on for six weeks, and must not become wet in all this time."


def talk(*texts: str, system: str = "", first: Role = "user") -> tuple[Message, ...]:
    """A conversation whose turns alternate."""
    roles: tuple[Role, Role] = ("user", "assistant") if first == "user" else ("assistant", "user")
    turns = tuple(Message(roles[number % 2], text) for number, text in enumerate(texts))
    return (Message("system", system), *turns) if system else turns


def after(
    *texts: str, system: str = "", answer: str = ANSWER, private: bool = False, session: str | None = None
) -> Continuity:
    """What is remembered of such a conversation and its answer."""
    memory = Continuity()
    marks = memory.marks((*talk(*texts, system=system), Message("assistant", answer)))
    memory.answered(marks, session, model_id="ollama:phi", tokens=40, now=100.0)
    if private:
        memory.taint(marks)
    return memory


def before(memory: Continuity, messages: tuple[Message, ...], session: str | None = None) -> Turn | None:
    return memory.before(memory.marks(messages), session, 107.5)


def is_tainted(memory: Continuity, *texts: str, system: str = "", first: Role = "user") -> bool:
    return memory.is_tainted(memory.marks(talk(*texts, system=system, first=first)))


def test_a_first_turn_has_none_before_it() -> None:
    assert before(Continuity(), talk("hi")) is None
    assert before(after("hi"), talk("hi")) is None


def test_who_sends_the_messages_again_with_the_answer_goes_on() -> None:
    turn = before(after("hi", system="Be kind."), talk("hi", f"{ANSWER}\n", "and now?", system="Be kind."))
    assert turn == Turn("ollama:phi", 40, 7.5)


def test_another_answer_is_another_conversation() -> None:
    memory = after("hi", system="Be kind.")
    assert before(memory, talk("hi", "Something else.", "and now?", system="Be kind.")) is None
    assert before(memory, talk("hi", ANSWER, "and now?", system="Be rude.")) is None


def test_a_session_goes_on_whatever_its_messages_but_nothing_of_them_is_in_a_cache() -> None:
    memory = after("hi", session="s1")
    assert before(memory, talk("what else?"), "s1") == Turn("ollama:phi", 0, 7.5)
    assert before(memory, talk("what else?"), "s2") is None


def test_a_label_sticks_while_the_message_is_in_the_context() -> None:
    memory = after(SECRET, private=True)
    assert is_tainted(memory, SECRET, ANSWER, "go on")
    assert is_tainted(memory, "Hello there, my good friend.", "Hello.", SECRET, "I see.", "go on")  # elsewhere as well
    assert not is_tainted(memory, "What is the capital of France?", "Paris.", "go on")


def test_a_long_answer_to_a_private_prompt_is_private_by_itself() -> None:
    memory = after(SECRET, answer=LONG_ANSWER, private=True)
    assert is_tainted(memory, LONG_ANSWER, "go on", first="assistant")


def test_an_answer_that_says_little_is_known_behind_its_question_only() -> None:
    """Or else one private "hi" made everybody's talks private."""
    memory = after("hi", answer="Hello! How can I assist you today?", private=True)
    assert is_tainted(memory, "hi", "Hello! How can I assist you today?", "go on")
    assert not is_tainted(memory, "Good morning", "Hello! How can I assist you today?", "go on")


def test_the_newest_message_is_the_callers_to_label() -> None:
    """The same prompt may be asked again in public: only the context taints."""
    assert not is_tainted(after(SECRET, private=True), SECRET)


def test_a_private_prompt_is_remembered_although_it_was_not_answered() -> None:
    memory = Continuity()
    memory.taint(memory.marks(talk(SECRET)))
    assert is_tainted(memory, SECRET, "Hello.", "go on")


def test_a_label_is_released_when_the_message_is_trimmed_away() -> None:
    assert not is_tainted(after(SECRET, private=True), "What is the capital of France?", "Paris.", "And of Spain?")


def test_short_words_taint_in_their_place_only() -> None:
    """`yes` is a message of every other conversation."""
    memory = after("Shall it be?", "You decide.", "yes", answer="fine", private=True)
    assert is_tainted(memory, "You decide.", "yes", "more", first="assistant")
    assert not is_tainted(memory, "Shall we?", "I ask you.", "yes", "sure", "more")


def test_a_system_prompt_makes_nothing_private_and_hides_nothing() -> None:
    """It is shared by many conversations, and may hold a clock."""
    system = "You are a helpful assistant of a large hospital. It is 10:00."
    memory = after("My PIN is 4711", system=system, private=True)
    assert is_tainted(memory, "My PIN is 4711", ANSWER, "go on", system=system.replace("10:00", "10:05"))
    assert not is_tainted(memory, "Hello there, my good friend.", "Hello.", "go on", system=system)


def test_the_arguments_of_a_tool_call_are_part_of_the_answer() -> None:
    memory = Continuity()
    call = Message(
        "assistant",
        "",
        (
            ToolCall(
                "1", "find", '{"patient": "Ada Lovelace, born on 10 December 1815", "ward": "twelve, on the left"}'
            ),
        ),
    )
    memory.taint(memory.marks([*talk(SECRET), call]))
    assert memory.is_tainted(memory.marks([call, Message("tool", "none", tool_call_id="1")]))


def test_what_was_not_private_taints_nothing() -> None:
    assert not is_tainted(after(SECRET), SECRET, ANSWER, "go on")


def test_memory_is_bounded() -> None:
    memory = Continuity()
    for number in range(continuity.CONVERSATIONS + 10):
        memory.answered(memory.marks(talk("hi")), f"s{number}", model_id="a:b", tokens=1, now=0.0)
    assert len(memory._last) == continuity.CONVERSATIONS
    assert before(memory, talk("hi"), "s0") is None


def test_no_word_is_kept() -> None:
    memory = after(SECRET, private=True, session="ward 12")
    kept = repr((memory._last, memory._private))
    assert "patient" not in kept
    assert "ward" not in kept
