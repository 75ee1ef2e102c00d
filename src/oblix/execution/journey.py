"""What became of one request, written down while the hands work on it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from oblix.errors import AttemptFailed
from oblix.execution.states import Event, State, next_state
from oblix.types.attempt import Attempt
from oblix.types.chunk import End
from oblix.types.request import Request
from oblix.types.spec import ModelSpec, Place

_log = logging.getLogger("oblix.execution")


@dataclass(slots=True)
class Journey:
    """One request on its way. Times are on the loop's clock, in seconds.

    Attributes:
        deadline: When the whole call must end, `None` for no limit.
        prompt_tokens: Estimated, of the whole conversation.
        on_attempt: Told of each attempt when it is over, with its error if it failed.
        is_approved: The user allowed it to pass its budgets.
        ask: Whether the user lets it pass a budget that has no room; `None` where nobody is asked.
        home_steps_in: Where a budget refuses a model, the next one may answer.
        fitted: The request as it goes to a model, and how many messages of its conversation were left out for that; `None`: as it is.
        text: What the caller may have seen, since the last Reset.
        bridges: Where somebody else may answer while a model loads.
        is_at_work: A sign of work has come in the present attempt.
        is_visible: Text has come in the present attempt.
        is_spliced: A later attempt went on from the text of an earlier one.
        impossible: How often something happened that the table of states does not know: a bug of ours, each time.
    """

    request: Request
    deadline: float | None = None
    prompt_tokens: int = 0
    on_attempt: Callable[[Attempt, AttemptFailed | None], None] = lambda attempt, error: None
    fitted: Callable[[ModelSpec], tuple[Request, int]] | None = None
    is_approved: bool = False
    ask: Callable[[AttemptFailed], Coroutine[Any, Any, bool]] | None = None
    home_steps_in: bool = True
    state: State = State.NEW
    attempts: list[Attempt] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    end: End | None = None
    answered_by: str | None = None
    sent_at: float = 0.0
    first_token_at: float | None = None
    ended_at: float = 0.0
    bridges: frozenset[Place] = frozenset({"edge", "cloud"})
    is_at_work: bool = False
    is_visible: bool = False
    is_spliced: bool = False
    impossible: int = 0

    def on(self, event: Event) -> None:
        """Something happened."""
        after = next_state(self.state, event)
        if after is None:
            self.impossible += 1
            _log.error("a request cannot %s while it is %s; please report this", event.value, self.state.value)
            return
        self.state = after
        if event is Event.SEND:
            self.is_at_work = self.is_visible = False

    def void(self) -> None:
        """The text so far counts no more."""
        self.text.clear()
        self.first_token_at = None
        self.is_spliced = False
        self.on(Event.RESET)

    def add(self, attempt: Attempt, error: AttemptFailed | None) -> None:
        """An attempt is over, or was put off."""
        self.attempts.append(attempt)
        self.on_attempt(attempt, error)
