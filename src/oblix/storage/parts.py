"""What many decisions were taken on is kept once: a model's spec, an agent's report. The facts of a decision name it by its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec

from oblix.decision.facts import Facts, ModelFacts

KEY = "part"  # a JSON object that holds only this stands for a part
_AT = slice(len(KEY) + 5, -2)  # of the digest in {"part":"…"}
MOST = 256  # values that are remembered; what is forgotten is encoded again
# Facts and models with room for names, as structs: a dict of the same takes five times as long to make and to encode.
_FACTS = tuple(field.name for field in fields(Facts) if field.name not in ("models", "reports"))
_MODEL = tuple(field.name for field in fields(ModelFacts) if field.name != "spec")
_facts, _model = attrgetter(*_FACTS), attrgetter(*_MODEL)
_Facts = msgspec.defstruct("_Facts", ["models", "reports", *_FACTS])
_Model = msgspec.defstruct("_Model", ["spec", *_MODEL])


class Parts:
    """Splits facts, and remembers by identity what was split off: a spec or a report is encoded once, not at every prompt.

    With three agents and two models the row of a decision is half as long.
    """

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode
        self._named: dict[int, tuple[object, msgspec.Raw]] = {}  # holds the value, so that nobody else gets its id
        self._unwritten: dict[str, bytes] = {}

    def split(self, facts: Facts) -> tuple[msgspec.Struct, dict[str, bytes]]:
        """The facts with names in the place of their parts, ready to be encoded; and those parts that are new, by their digest.

        Say what became of them with `wrote` or `lost`. Two decisions that are written at the same time may both get a part.
        """
        new: dict[str, bytes] = {}
        models = [_Model(self._name(model.spec, new), *_model(model)) for model in facts.models]
        reports = {agent: self._name(report, new) for agent, report in facts.reports.items()}
        return _Facts(models, reports, *_facts(facts)), new

    def _name(self, value: object, new: dict[str, bytes]) -> msgspec.Raw:
        found = self._named.get(id(value))
        if found is not None:
            if self._unwritten and (body := self._unwritten.get(digest := bytes(found[1])[_AT].decode())):
                new[digest] = body  # somebody else is about to write it, and may fail
            return found[1]
        body = self._encode(value)
        digest = blake2b(body, digest_size=16).hexdigest()
        self._unwritten[digest] = new[digest] = body
        if len(self._named) >= MOST:
            self._named.clear()
        name = msgspec.Raw(b'{"%s":"%s"}' % (KEY.encode(), digest.encode()))
        self._named[id(value)] = value, name
        return name

    def wrote(self, parts: Iterable[str]) -> None:
        """The parts of these digests are in the file now."""
        for digest in parts:
            self._unwritten.pop(digest, None)

    def lost(self, parts: Iterable[str]) -> None:
        """They could not be written; who names them again has them encoded again, and nothing is kept for that."""
        self.wrote(parts)
        self._named.clear()


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
