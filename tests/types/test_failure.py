"""The taxonomy: every kind has its treatment, and no treatment contradicts itself."""

from __future__ import annotations

import pytest

from oblix.errors import FailureKind
from oblix.types.failure import TREATMENTS, treatment

K = FailureKind
EVERY = list(FailureKind)


def test_every_kind_has_a_row_and_a_text_of_its_own() -> None:
    assert list(TREATMENTS) == EVERY
    assert len({treatment(kind).says for kind in EVERY}) == len(EVERY)


OUR_OWN = (K.POLICY, K.BUDGET, K.LEDGER)  # refusals that no endpoint can help


@pytest.mark.parametrize("kind", EVERY)
def test_a_text_goes_on_from_the_name_of_a_model(kind: FailureKind) -> None:
    says = treatment(kind).says
    assert says[0].islower()
    assert not says.endswith(".")


@pytest.mark.parametrize("kind", EVERY)
def test_what_never_reached_the_peer_is_not_billed(kind: FailureKind) -> None:
    row = treatment(kind)
    assert not (row.certainty == "not_sent" and row.is_billable)


@pytest.mark.parametrize("kind", EVERY)
def test_an_endpoint_is_blamed_only_for_what_never_reached_it(kind: FailureKind) -> None:
    assert (treatment(kind).scope == "endpoint") == (treatment(kind).certainty == "not_sent" and kind not in OUR_OWN)


@pytest.mark.parametrize("kind", EVERY)
def test_what_ends_the_journey_blames_nobody(kind: FailureKind) -> None:
    row = treatment(kind)
    assert row.moves_on or (row.scope == "none" and not row.retries_here)


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_nobodys_fault_is_not_asked_again(kind: FailureKind) -> None:
    row = treatment(kind)
    assert not (row.scope == "none" and row.retries_here)


@pytest.mark.parametrize("kind", EVERY)
def test_only_what_made_somebody_wait_opens_a_breaker_at_once(kind: FailureKind) -> None:
    waited = kind.value.startswith("timeout_") and kind is not K.TIMEOUT_TOTAL
    assert treatment(kind).weight == (3 if waited else 1)


@pytest.mark.parametrize("kind", EVERY)
def test_what_arose_here_weighs_on_the_way_there(kind: FailureKind) -> None:
    row = treatment(kind)
    assert not row.is_local or row.scope == "endpoint"


@pytest.mark.parametrize("kind", EVERY)
def test_a_cooldown_is_between_a_second_and_an_hour(kind: FailureKind) -> None:
    cooldown = treatment(kind).cooldown
    assert cooldown is None or 1.0 <= cooldown <= 3600.0


def test_the_callers_own_doings_are_neutral() -> None:
    neutral = {kind for kind in EVERY if treatment(kind).scope == "none" and treatment(kind).cooldown is None}
    theirs = {K.TIMEOUT_TOTAL, K.CONTEXT_OVERFLOW, K.CONTENT_FILTER, K.BAD_REQUEST, K.CANCELLED}
    assert neutral == {*theirs, *OUR_OWN}
