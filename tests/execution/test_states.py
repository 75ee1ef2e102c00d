"""The table of a request's states: complete, without dead ends, and never left by what really happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.states import OUTCOMES, TRANSITIONS, Event, State, next_state


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_event_leads_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


@pytest.mark.parametrize("state", [state for state in State if state is not State.SETTLED])
def test_from_every_state_a_request_can_be_settled(state: State) -> None:
    seen, ahead = {state}, [state]
    while ahead:
        for after in TRANSITIONS[ahead.pop()].values():
            if after not in seen:
                seen.add(after)
                ahead.append(after)
    assert State.SETTLED in seen


def test_only_outcomes_are_settled_and_nothing_follows() -> None:
    assert {state for state, row in TRANSITIONS.items() if Event.SETTLE in row} == OUTCOMES
    assert not TRANSITIONS[State.SETTLED]


@pytest.mark.parametrize("state", [s for s in State if s not in OUTCOMES and s is not State.SETTLED])
def test_a_caller_may_leave_at_any_time(state: State) -> None:
    assert next_state(state, Event.LEAVE) is State.CANCELLED


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_text_is_never_shown_twice_without_a_reset_or_a_resumption(events: list[Event]) -> None:
    """Whatever happens in whatever order: between two first tokens lies a failure and what was said about the text of the first."""
    state, shown = State.NEW, False
    for event in events:
        after = next_state(state, event)
        if after is None:
            continue
        if event is Event.TOKEN:
            assert not shown
            shown = True
        elif event in (Event.RESET, Event.RESUME):
            shown = False
        state = after
    assert state in State


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_a_proof_is_final(events: list[Event]) -> None:
    state, proved = State.NEW, False
    for event in events:
        after = next_state(state, event)
        if after is None:
            continue
        assert not (proved and event in (Event.SEND, Event.TOKEN, Event.FAIL))
        proved = proved or event is Event.PROOF
        state = after
