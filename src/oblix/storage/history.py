"""From what the log kept back to the facts and the policy of a decision, so that it can be taken again, and told."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec

from oblix.decision import explain
from oblix.decision.facts import Facts
from oblix.decision.flips import Flip, flips
from oblix.decision.layout import Part, lay_out
from oblix.decision.policy import PRESETS, Policy
from oblix.decision.record import is_older
from oblix.errors import ConfigurationError
from oblix.storage.decisions import Kept, with_checks


class Past(NamedTuple):
    """What a decision was taken on."""

    facts: Facts
    policy: Policy


class Forgotten(Exception):
    """A decision cannot be taken again; the message says why."""


def recall(kept: Kept) -> Past:
    """The facts and the policy of a decision.

    Raises:
        Forgotten: An earlier version wrote it, or it cannot be read.
    """
    return Past(recall_facts(kept), recall_policy(kept))


def story(kept: Kept) -> list[Part]:
    """A decision in plain words, with the nearest flips: what `oblix why` prints."""
    return explain.story(with_checks(kept), kept.outcome, what_would_change(kept))


def tell(kept: Kept, width: int | None = None) -> str:
    """The same as one text, whose lines are wrapped where a width is given."""
    return lay_out(story(kept), width=width)


def what_would_change(kept: Kept) -> tuple[Flip, ...] | None:
    """The nearest flips of a decision, `None` where its facts cannot be read any more."""
    try:
        return flips(*recall(kept))
    except Forgotten:
        return None


def recall_facts(kept: Kept) -> Facts:
    """The facts alone, for deciding under another policy.

    Raises:
        Forgotten: As `recall`.
    """
    if is_older(kept.record):
        raise Forgotten("written by an earlier version")
    try:
        return _facts_decoder().decode(kept.facts)
    except msgspec.MsgspecError:
        raise Forgotten("its facts cannot be read") from None


def recall_policy(kept: Kept) -> Policy:
    """The policy alone.

    Raises:
        Forgotten: As `recall`.
    """
    digest = kept.record["policy_digest"]
    if kept.policy is not None:
        return _stored(digest, kept.policy)
    preset = PRESETS.get(kept.record["policy"])
    if preset is None or preset.digest != digest:
        raise Forgotten("its policy was not kept")
    return preset


@lru_cache(maxsize=64)
def _stored(digest: str, body: bytes) -> Policy:
    from oblix.decision.policy_table import from_mapping

    try:
        policy = from_mapping(msgspec.json.decode(body))
    except (ConfigurationError, msgspec.MsgspecError):
        raise Forgotten("its policy cannot be read") from None
    if policy.digest != digest:
        raise Forgotten("its policy cannot be read")  # a part of it means something else today
    return policy


@lru_cache(maxsize=1)
def _facts_decoder() -> msgspec.json.Decoder[Facts]:
    return msgspec.json.Decoder(Facts)  # made when it is used: some 2 ms
