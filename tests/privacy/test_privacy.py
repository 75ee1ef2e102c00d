"""The proof, small enough for every run of the tests; and that it would notice: a product that leaks, and controls that stay silent."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from oblix.testing.faults import KINDS, MOMENTS, impossible
from oblix.types.privacy import Screening

from . import run as rigs
from .cases import CONTROLS, EDGES, WAYS, Case, Way, cases, controls, redactions
from .secrets import leaked, secret_of
from .tally import Tally
from .world import Sighting

ROOT = Path(__file__).parents[2]
REQUESTS = 200
SEED = 20261123  # any; the same requests every time


def some(count: int, **facts: object) -> list[Case]:
    """The first of the plan that are so."""
    fits = (case for case in cases(6000, SEED) if all(getattr(case, name) == value for name, value in facts.items()))
    found = [case for case, _ in zip(fits, range(count), strict=False)]
    assert len(found) == count
    return found


def test_no_byte_of_a_private_prompt_reaches_a_cloud_whatever_fails() -> None:
    """The command of `make privacy`, with fewer requests. In processes of its own: a broken mind's decisions are not this suite's."""
    words = [sys.executable, "-m", "tests.privacy", f"--requests={REQUESTS}", f"--seed={SEED}"]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == f"privacy: requests={REQUESTS} leaked_bytes=0"
    assert f"guard_alone: {REQUESTS // 2} private requests" in ran.stdout


def test_a_product_that_ignores_a_label_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes, the connections and the look-ups are counted, and the answer is named."""
    monkeypatch.setitem(WAYS, "argument", Way())
    sure = some(8, rig="whole", way="argument", wanted="cloud_only", ending="end", is_long=False)
    tally = asyncio.run(rigs.run(sure))
    assert not tally.is_good
    assert tally.endings == {"cloud": len(sure)}
    assert tally.leaked_bytes > 100 * len(sure)
    assert tally.connections >= len(sure)
    assert tally.lookups >= len(sure)


def test_a_leak_in_a_life_that_many_share_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, "argument", Way())
    tally = asyncio.run(rigs.run(some(10, rig="whole", way="argument", wanted="cloud", is_long=True)))
    assert not tally.is_good
    assert tally.endings["cloud"] > 0
    assert tally.leaked_bytes > 0


def test_a_secret_that_is_not_taken_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same requests with other names on the list."""
    monkeypatch.setattr(Case, "said", Way(screening=Screening(mode="redact", names=("Rosalinde Quack",))))
    able = [case for case in redactions(60, SEED) if case.wanted == "cloud_only" and case.ending == "end"]
    tally = asyncio.run(rigs.run(able))
    assert tally.sent == len(able) > 0
    assert tally.leaked_bytes > 0
    assert not tally.is_good


def test_controls_that_stay_silent_are_a_failure() -> None:
    """A recorder that sees nothing proves nothing."""
    silent = next(controls(1, SEED))
    tally = Tally()
    tally.check(silent, Sighting(b"", 0, ()))
    tally.refusals["guard_alone"] = tally.sent = 1
    assert not tally.is_good
    assert tally.findings == [f"a control did not fire: {silent}"]


def test_without_controls_nothing_is_proven() -> None:
    tally = Tally(refusals=Counter(guard_alone=1), sent=1)
    assert not tally.is_good
    for rig in CONTROLS:
        tally.asked[rig] = tally.fired[rig] = 1
    assert tally.is_good
    assert not dataclasses.replace(tally, refusals=Counter()).is_good  # then something else than the guard has held
    assert not dataclasses.replace(tally, sent=0).is_good  # then nothing was sent that could have been redacted badly


@pytest.mark.parametrize("field", ["leaked_bytes", "connections", "lookups"])
def test_whatever_gets_out_is_a_failure(field: str) -> None:
    tally = Tally(refusals=Counter(guard_alone=1), sent=1, asked=Counter(CONTROLS), fired=Counter(CONTROLS))
    assert tally.is_good
    setattr(tally, field, 1)
    assert not tally.is_good


def test_the_plan_meets_every_kind_at_every_moment_and_wire_that_can_be() -> None:
    met = {(case.fault.kind, case.fault.moment, case.edge.wire) for case in cases(2000, 1)}
    assert met == {
        (kind, moment, seat.wire)
        for kind in KINDS
        for moment in MOMENTS
        for seat in EDGES
        if impossible(kind, moment, seat.wire) is None
    }
    assert {case.way for case in cases(2000, 1)} == set(WAYS)


def test_the_plan_is_the_same_for_the_same_seed() -> None:
    assert list(cases(100, 7)) == list(cases(100, 7)) != list(cases(100, 8))


@pytest.mark.parametrize(
    "travelled",
    [
        secret_of(7).encode(),
        json.dumps({"content": f"Say {secret_of(7)}!"}).encode(),
        *(base64.b64encode(f"{'x' * pad}{secret_of(7)} and more".encode()) for pad in range(7)),
        base64.b64encode(secret_of(7).encode()),
        secret_of(7).encode().hex().encode(),
    ],
)
def test_a_secret_is_found_in_every_form_in_which_it_may_travel(travelled: bytes) -> None:
    assert leaked(secret_of(7), b"POST / HTTP/1.1\r\n\r\n" + travelled) >= len(secret_of(7)) - 4
    assert leaked(secret_of(8), travelled) == 0
