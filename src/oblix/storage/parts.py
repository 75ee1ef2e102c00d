"""What many decisions were taken on is kept once: a model's spec, an agent's report. The facts of a decision name it by its digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec

from oblix.decision.facts import Facts, ModelFacts

KEY = "part"  # a JSON object that holds only this stands for a part
MOST = 256  # values that are remembered; what is forgotten is encoded again
# Facts and models with room for names, as structs: a dict of the same takes five times as long to make and to encode.
_FACTS = tuple(field.name for field in fields(Facts) if field.name not in ("models", "reports"))
_MODEL = tuple(field.name for field in fields(ModelFacts) if field.name != "spec")
_facts, _model = attrgetter(*_FACTS), attrgetter(*_MODEL)
_Facts = msgspec.defstruct("_Facts", ["models", "reports", *_FACTS])
_Model = msgspec.defstruct("_Model", ["spec", *_MODEL])


class Parts:
    """Splits facts, and remembers by identity what was split off: a spec or a report is encoded once, not at every prompt.

    With three agents and two models the row of a decision is half as long, and needs no second page of the file.
    """

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode
        self._named: dict[int, tuple[object, msgspec.Raw]] = {}  # holds the value, so that nobody else gets its id
        self._unwritten: dict[str, bytes] = {}

    def split(self, facts: Facts) -> msgspec.Struct:
        """The facts with names in the place of their parts, ready to be encoded."""
        name = self._name
        models = [_Model(name(model.spec), *_model(model)) for model in facts.models]
        return _Facts(models, {agent: name(report) for agent, report in facts.reports.items()}, *_facts(facts))

    def _name(self, value: object) -> msgspec.Raw:
        found = self._named.get(id(value))
        if found is not None:
            return found[1]
        body = self._encode(value)
        digest = blake2b(body, digest_size=16).hexdigest()
        self._unwritten[digest] = body
        if len(self._named) >= MOST:
            self._named.clear()
        name = msgspec.Raw(b'{"%s":"%s"}' % (KEY.encode(), digest.encode()))
        self._named[id(value)] = value, name
        return name

    def unwritten(self) -> list[tuple[str, bytes]]:
        """Digest and body of what is not in the file yet."""
        return list(self._unwritten.items())

    def wrote(self, rows: list[tuple[str, bytes]]) -> None:
        """These are in the file now."""
        for digest, _ in rows:
            self._unwritten.pop(digest, None)


def whole(facts: bytes, look_up: Callable[[str], bytes | None]) -> bytes:
    """Facts with their parts put back. What is not found stays a name, and the facts cannot be read."""
    if b'{"%s":"' % KEY.encode() not in facts:
        return facts  # an earlier version wrote them
    found: Any = msgspec.json.decode(facts)

    def back(value: Any) -> Any:
        digest = value.get(KEY) if isinstance(value, dict) and len(value) == 1 else None
        body = look_up(digest) if isinstance(digest, str) else None
        return value if body is None else msgspec.Raw(body)

    if isinstance(found, dict):
        for model in found.get("models") or ():
            model["spec"] = back(model.get("spec"))
        found["reports"] = {name: back(report) for name, report in (found.get("reports") or {}).items()}
    return msgspec.json.encode(found)
