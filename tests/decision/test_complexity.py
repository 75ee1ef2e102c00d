"""How hard prompts look: cases, and what more of a prompt does to its score."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision import complexity, tokens
from oblix.decision.complexity import score, word
from oblix.types.messages import Image, Message, Text, ToolCall

PASTED = "The quick brown fox jumps over the lazy dog. " * 90
# Where two classes would both do, both stand there.
CASES = {
    "simple": (
        "What is the capital of France?",
        "What is 15 + 27?",
        "What's the capital of Japan?",
        "What time is it?",
        "hi",
        "Thanks, that helped!",
        "Who wrote Hamlet?",
        "How many days are in a leap year?",
        "Translate 'good morning' into Spanish.",
        "Define photosynthesis in one sentence.",
        "Is 17 a prime number? Yes or no.",
        "List the days of the week.",
        "Convert 10 km to miles.",
        "What does HTTP stand for?",
        "When did World War II end?",
        "Explain quantum computing in simple terms",
        "Fix the spelling: recieve",
        "Which is larger, 3.9 or 3.11?",
        "Tell me a joke",
        "What is the meaning of the word 'ubiquitous'?",
        "Was ist die Hauptstadt von Frankreich?",
        "What is the population of Paris, including its suburbs?",
        "Good morning, how are you?",
        "What is encryption?",
        "What's the plan for today?",
        "Tell me about your system prompt",
        "Give me synonyms for happy",
        "2+2",
    ),
    "simple/moderate": (
        "Write a short poem about the sea.",
        "Why is the sky blue?",
        "What is the integral of x^2?",
        "Write a haiku",
        "Name three advantages of bees.",
        "Why?",
        "Rewrite this sentence so that it sounds friendlier: send me the file now",
    ),
    "moderate": (
        "Explain how photosynthesis works",
        "Write a Python function that reverses a linked list.",
        "Compare tea and coffee.",
        "How do I undo the last commit in git without losing my changes?",
        "Draft a polite email to my landlord about a broken heater.",
        "What are the pros and cons of remote work?",
        "Write a SQL query that finds the five customers with the highest total orders.",
        "Explain the difference between TCP and UDP.",
        "Plan a three-day trip to Rome for a family with two children.",
        "Summarize the plot of Hamlet in three paragraphs.",
        "Describe the water cycle for a ten-year-old, with an example.",
        "What is the difference between lists and tuples in Python?",
        "How does a transformer network work?",
        "Thanks. Now prove it.",
        "Which language is this?\n" + PASTED,
    ),
    "moderate/complex": ("Summarize the following text:\n" + PASTED,),
    "complex": (
        (
            "Analyze the implications of quantum computing on modern cryptography, including potential "
            "vulnerabilities in RSA and elliptic curve systems."
        ),
        "Explain the theory of relativity and its implications for modern physics, including experimental evidence.",
        "Recommend a strategy for implementing a microservice architecture in a legacy monolithic application.",
        "Write a detailed analysis of sustainable energy solutions for developing nations",
        (
            "Design a distributed rate limiter for 50 data centres; discuss consistency, failure modes and clock "
            "skew, and prove that it never over-admits by more than 1 %."
        ),
        "Prove that the square root of 2 is irrational, then generalise the proof to all primes.",
        (
            "Compare the economic policies of Germany and Japan after 1945 in depth, evaluate their long-term "
            "effects, and argue which was more sustainable."
        ),
        (
            "Derive the Euler-Lagrange equations from the principle of least action step by step, assuming fixed "
            "endpoints."
        ),
        (
            "Implement a B-tree in Rust with concurrent readers; it must never block and ensure durability. Include "
            "tests and an analysis of its complexity."
        ),
        (
            'Here is a traceback:\n```\nTraceback (most recent call last):\n  File "a.py", line 3, in <module>\n    '
            "f()\nRecursionError: maximum recursion depth exceeded\n```\nDebug it and refactor the code so that it "
            "cannot happen again:\n```\ndef f():\n    return f()\n```"
        ),
        (
            "We plan to move our shop to the cloud.\n1. Compare three providers.\n2. Evaluate the risks, including "
            "data protection.\n3. Propose a migration roadmap with milestones and costs."
        ),
        (
            "Critique the following argument and propose counter-arguments: free will cannot exist because every "
            "event has a cause."
        ),
        (
            "Investigate why the p99 latency of our service doubles at midnight; at least two hypotheses, each with "
            "an experiment that could refute it."
        ),
        "Evaluate the integral of x^2 * sin(x) from 0 to pi and justify each step.",
        (
            "Hello! Please analyze the attached contract for risks, compare it with our standard terms and propose "
            "changes."
        ),
    ),
}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param(prompt, expected, id=prompt[:40].replace("\n", " "))
        for expected, prompts in CASES.items()
        for prompt in prompts
    ],
)
def test_prompts_fall_into_their_class(prompt: str, expected: str) -> None:
    found = score(prompt)
    assert word(found.score) in expected.split("/"), found


def test_the_pages_prompts_rise_from_simple_to_complex() -> None:
    """The fifth program calls its three queries very simple, moderate and complex."""
    queries = (
        "What time is it?",
        "Explain how photosynthesis works",
        "Write a detailed analysis of sustainable energy solutions for developing nations",
    )
    scores = [score(query).score for query in queries]
    assert [word(each) for each in scores] == ["simple", "moderate", "complex"]
    assert scores == sorted(scores)


def test_evidence_names_what_weighs_most_first() -> None:
    found = score("Compare Rust and Go in depth, step by step, including their limitations.")
    assert found.evidence[:2] == ("asks for depth", "asks for analysis")


ANY = st.text(max_size=400) | st.sampled_from([prompt for prompts in CASES.values() for prompt in prompts])
FILLER = st.lists(st.sampled_from(["and", "the", "house", "of", "my", "blue", "aunt"]), max_size=400).map(" ".join)


@given(ANY, st.integers(1, 50), st.integers(0, 5))
def test_a_score_is_a_share_and_always_the_same(prompt: str, turns: int, tools: int) -> None:
    found = score(prompt, turns=turns, tools=tools)
    assert 0.0 <= found.score <= 1.0
    assert found == score(prompt, turns=turns, tools=tools)


@given(ANY, FILLER)
def test_more_words_never_make_a_prompt_much_easier(prompt: str, filler: str) -> None:
    assert score(f"{prompt} {filler}").score >= score(prompt).score - 0.001


@given(ANY, st.integers(1, 6))
def test_more_tasks_never_make_a_prompt_easier(prompt: str, parts: int) -> None:
    tasks = [
        "Compare the options.",
        "Evaluate the risks.",
        "Design a rollout.",
        "Explain why.",
        "It must not block.",
        "Do it step by step.",
    ]
    scores = [score("\n".join([prompt, *tasks[:count]])).score for count in range(parts + 1)]
    assert scores == sorted(scores)


@given(ANY, st.integers(1, 60), st.integers(0, 6))
def test_a_longer_conversation_and_more_tools_never_make_it_easier(prompt: str, turns: int, tools: int) -> None:
    here = score(prompt, turns=turns, tools=tools).score
    assert score(prompt, turns=turns + 1, tools=tools).score >= here
    assert score(prompt, turns=turns, tools=tools + 1).score >= here


@given(ANY)
def test_capitals_and_outer_spaces_make_no_difference(prompt: str) -> None:
    if prompt.isascii():
        assert score(prompt.upper()).score == score(prompt).score
        assert score(f"  {prompt}\n ").score == pytest.approx(score(prompt).score, abs=0.001)


def test_instructions_count_at_the_start_and_at_the_end_of_a_long_text() -> None:
    pasted = PASTED * 20
    plain = score(pasted).score
    assert score(f"Compare the two drafts.\n{pasted}").score > plain
    assert score(f"{pasted}\nCompare the two drafts.").score > plain
    assert score(f"{pasted}\nCompare the two drafts.\n{pasted}").score == plain


def test_a_script_without_spaces_has_length_too() -> None:
    """Chinese prose was counted as one word."""
    short = score("量子计算的影响").score
    assert score("量子计算对现代密码学的影响是什么" * 30).score > short + 0.3


@pytest.mark.parametrize("prompt", ["", " ", "\0", "\ud800", "🙂" * 5000, "a" * 1_000_000], ids=repr)
def test_odd_prompts_have_a_score(prompt: str) -> None:
    assert 0.0 <= score(prompt).score <= 1.0


def test_the_class_limits() -> None:
    assert [word(each) for each in (0.0, 0.329, 0.33, 0.659, 0.66, 1.0)] == [
        "simple",
        "simple",
        "moderate",
        "moderate",
        "complex",
        "complex",
    ]
    assert complexity.SCANNED == 3000


# --- tokens ---


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("a", 1, 1),
        ("What is the capital of France?", 6, 10),
        ("Donaudampfschifffahrtsgesellschaftskapitän", 8, 16),
        ("量子计算对现代密码学的影响是什么", 8, 20),
        ("🙂🙂🙂", 2, 6),
        ("\ud800", 1, 2),
    ],
)
def test_tokens_are_estimated_in_the_right_order_of_magnitude(text: str, low: int, high: int) -> None:
    """Counted with the usual tokenizers by hand; we may be above, seldom below."""
    assert low <= tokens.estimate(text) <= high


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_longer_text_has_no_fewer_tokens(one: str, other: str) -> None:
    assert tokens.estimate(one + other) >= tokens.estimate(one)


def test_a_conversation_counts_its_delimiters_images_and_calls() -> None:
    plain = (Message("user", "hello"),)
    rich = (
        Message("user", (Text("hello"), Image("image/png", "x"))),
        Message("assistant", "", (ToolCall("1", "look", '{"at": "it"}'),)),
    )
    assert tokens.estimate_messages(plain) == tokens.estimate("hello") + 6
    assert tokens.estimate_messages(rich) > tokens.estimate_messages(plain) + 1000
