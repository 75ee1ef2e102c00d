"""The candidates that are still to be tried, in order. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from oblix.models.base import Model
from oblix.types.spec import Place


class Route:
    """A plan on its way to its end: each candidate once; one that is put off comes again after the others, and cannot be put off twice."""

    def __init__(self, plan: Iterable[Model]) -> None:
        self._left = deque(plan)
        self._put_off: deque[Model] = deque()

    def __bool__(self) -> bool:
        return bool(self._left or self._put_off)

    def next(self, bridges: frozenset[Place]) -> tuple[Model, bool]:
        """The next candidate, and whether it may be put off: not when it was already, or when nobody else is left.

        Args:
            bridges: Where somebody may answer in the place of one that was put off; elsewhere that one comes first.
        """
        if self._put_off and not any(model.spec.place in bridges for model in self._left):
            return self._put_off.popleft(), False
        if self._left:
            return self._left.popleft(), bool(self._left)
        return self._put_off.popleft(), False

    def put_off(self, model: Model) -> None:
        """Ask the others first."""
        self._put_off.append(model)

    def others(self) -> tuple[Model, ...]:
        """Who would be tried next, without those that were put off."""
        return tuple(self._left)

    def take(self, model: Model) -> None:
        """It is being tried out of turn."""
        self._left.remove(model)

    def keep(self, fits: Callable[[Model], bool]) -> list[Model]:
        """Drop the candidates that cannot do it; gives those."""
        dropped = [model for model in (*self._left, *self._put_off) if not fits(model)]
        self._left = deque(model for model in self._left if fits(model))
        self._put_off = deque(model for model in self._put_off if fits(model))
        return dropped
