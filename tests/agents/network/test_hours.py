"""Hours on simulated links: no false alarm by loss, quick detection of a cut, one change of state per real change."""

from __future__ import annotations

import random

import pytest

from .simulated import HOST, Client, Link


@pytest.mark.parametrize("seed", range(3))
def test_twenty_percent_lost_each_way_is_never_told_as_a_cut(seed: int) -> None:
    """An hour of prompts, of which more than a third get no answer at first. (120 hours were tried: none was.)"""
    client = Client(Link(random.Random(seed), 0.2, 0.2))
    client.run(3600)
    assert [state for _, state, _ in client.states] == ["up"]
    assert client.picture.unanswered_share(client.now) == pytest.approx(0.36, abs=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_a_good_way_that_becomes_lossy_is_not_told_as_a_cut(seed: int) -> None:
    link = Link(random.Random(seed))
    client = Client(link)
    client.run(60)
    link.loss_up = link.loss_down = 0.2
    client.run(240)
    assert [state for _, state, _ in client.states] == ["up"]


@pytest.mark.parametrize("loss", [0.0, 0.05], ids=["no loss", "5 % each way"])
@pytest.mark.parametrize("seed", range(6))
def test_a_cut_under_traffic_is_noticed_within_two_seconds_and_its_end_within_ten(loss: float, seed: int) -> None:
    rng = random.Random(seed)
    cut = 60 + 3 * rng.random()
    client = Client(Link(rng, loss, loss, cuts=[(cut, cut + 20)]))
    client.run(cut + 60)
    assert [state for _, state, _ in client.states] == ["up", "down", "up"]
    (_, _, _), (down, _, trouble), (up, _, _) = client.states
    assert trouble == "silence"
    assert down - cut <= 2.0
    assert up - (cut + 20) <= 10.0


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_of_a_lossy_way_is_noticed_as_well(seed: int) -> None:
    rng = random.Random(seed)
    client = Client(Link(rng, 0.2, 0.2, cuts=[(60.0, 90.0)]))
    client.run(120)
    assert [state for _, state, _ in client.states] == ["up", "down", "up"]


@pytest.mark.parametrize("period", [1, 2, 3, 5, 8, 13, 20])
@pytest.mark.parametrize("seed", range(2))
def test_ten_minutes_of_flapping_make_at_most_one_change_per_real_change(period: float, seed: int) -> None:
    rng = random.Random(seed)
    cuts, at = [], 5.0
    while at < 600:
        away, there = period * (0.5 + rng.random()), period * (0.5 + rng.random())
        cuts.append((at, at + away))
        at += away + there
    client = Client(Link(rng, cuts=cuts))
    client.run(at + 30)
    real = sorted([edge for cut in cuts for edge in cut])
    assert client.states[-1][1] == "up"
    for (before, _, _), (after, _, _) in zip(client.states, client.states[1:], strict=False):
        assert any(before <= edge <= after for edge in real)  # each change has a cause of its own


def test_what_was_sent_again_during_cuts_is_no_loss() -> None:
    cuts = [(float(at), at + 3.0) for at in range(10, 70, 6)]
    client = Client(Link(random.Random(1), cuts=cuts))
    client.run(120)
    loss = client.picture.figures([HOST], client.now).loss
    assert loss is not None
    assert loss.percent == pytest.approx(0.0, abs=2.0)
    assert client.picture.unanswered_share(client.now) < 0.1
