"""The judge judges as he says, and two quick links are judged for real; `make badlink` plays them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oblix.testing import badlink
from oblix.testing.badlink import BothCounts, Counts, Way

from . import certificates, page
from .away import Papers, answer, asked_for
from .judge import Verdict, judge
from .play import play
from .stage import Account, Event, How, Sample, Stage, What
from .worlds import GOOD, SILENCE, WORLDS, World, black_hole

Require = Callable[[object, str], None]
STEADY = WORLDS[0]
CUT = next(world for world in WORLDS if world.play is black_hole)
GUARD = 30.0  # seconds: only against hanging
METRICS = {"latency_ms": 20.0, "loss_up_percent": 0.0, "loss_up_interval": [0.0, 1.0], "segments_up": 800}


def account(states: str, *events: tuple[float, What], **changed: object) -> Account:
    """What was said each second: `o`ptimal, `d`egraded, `x` for disconnected; on a way of 20 ms, unless changed."""
    words = {"o": "optimal", "d": "degraded", "x": "disconnected"}
    metrics = {**METRICS, **changed}
    return Account(
        samples=[Sample(float(at), words[letter], "silence", metrics) for at, letter in enumerate(states)],
        events=[Event(*event) for event in events],
        up=Way(delay_ms=10),
        down=Way(delay_ms=10),
        counts=BothCounts(Counts(segments=1000), Counts(segments=1000)),
    )


def verdict(world: World, states: str, *events: tuple[float, What], **changed: object) -> Verdict:
    return judge(world, account(states, *events, **changed))


def wrongs(found: Verdict) -> list[str]:
    return [finding.truth for finding in found.findings if not finding.right]


def test_a_steady_link_is_judged_by_its_figures() -> None:
    assert wrongs(verdict(STEADY, "oooo")) == []
    assert wrongs(verdict(STEADY, "oooo", latency_ms=25.1)) == []
    assert wrongs(verdict(STEADY, "oooo", latency_ms=25.3)) == ["20.2 ms"]
    assert wrongs(verdict(STEADY, "oooo", latency_ms=None)) == ["20.2 ms"]


@pytest.mark.parametrize(
    ("changed", "right"),
    [
        ({"loss_up_percent": 4.9}, True),
        ({"loss_up_percent": 5.1}, False),
        ({"loss_up_percent": None}, False),
        ({"loss_up_percent": 9.0, "segments_up": 100, "loss_up_interval": [0.0, 20.0]}, True),
        ({"loss_up_percent": 9.0, "segments_up": 100, "loss_up_interval": [1.0, 20.0]}, False),
        ({"loss_up_percent": None, "segments_up": 0, "loss_up_interval": None}, True),
        ({"loss_down_percent": 0.0, "loss_down_interval": [0.0, 3.0]}, True),
        ({"loss_down_percent": 2.0, "loss_down_interval": [1.0, 3.0]}, False),
    ],
)
def test_loss_is_judged_by_the_point_when_enough_was_seen_and_by_its_interval_before(
    changed: dict[str, object], right: bool
) -> None:
    assert verdict(STEADY, "oooo", **changed).right is right


def test_a_rate_is_judged_where_there_is_one_and_enough_was_sent() -> None:
    told = account("oooo", bandwidth_up_mbps=0.8)
    told.up = replace(told.up, rate_mbps=1.0)
    assert judge(STEADY, told).right  # nothing large was sent
    told.sent_up = True
    assert judge(STEADY, told).right
    assert wrongs(judge(STEADY, replace(told, up=replace(told.up, rate_mbps=1.1)))) == ["1.1 Mbit/s up"]
    assert wrongs(judge(STEADY, replace(told, up=Way(delay_ms=10)))) == ["no limit up"]


def test_the_length_of_a_packet_is_part_of_its_round_trip() -> None:
    told = account("oooo", latency_ms=31.0)
    told.up = replace(told.up, rate_mbps=1.0)
    assert judge(STEADY, told).right
    assert not judge(STEADY, replace(told, up=replace(told.up, rate_mbps=2.0))).right


def test_a_cut_is_to_be_noticed_within_two_seconds_and_its_end_within_ten() -> None:
    cut: list[tuple[float, What]] = [(2.5, "offline"), (8.5, "online")]
    found = verdict(CUT, "oooxxxxxxxxooo", *cut)
    assert found.right
    assert found.detections == (0.5, 2.5)
    assert wrongs(verdict(CUT, "oooooxxxxxxooo", *cut)) == ["offline"]
    assert wrongs(verdict(CUT, "oooooooooooo", *cut)) == ["offline"]
    assert wrongs(verdict(CUT, "oooxxxxxxxxxxxxxxxxooo", *cut)) == ["online"]
    assert wrongs(verdict(replace(CUT, words=("route",)), "oooxxxxxxxxooo", *cut)) == ["offline"]


def test_more_changes_than_real_ones_are_told_as_flaps() -> None:
    assert verdict(STEADY, "oodoo").flaps == 2
    assert wrongs(verdict(STEADY, "ooxoo")) == ["0 changes", "optimal at the end"]
    assert verdict(replace(STEADY, ends=("degraded",), learns=1), "ooddd").right
    assert not verdict(replace(STEADY, ends=("degraded",), learns=1), "ddodd").right


def test_a_link_that_flaps_may_be_held_down() -> None:
    flaps: list[tuple[float, What]] = [(2.5, "offline"), (5.5, "online"), (8.5, "offline"), (11.5, "online")]
    assert verdict(CUT, "oooxxxxxxxxxxxxooo", *flaps).right
    assert verdict(CUT, "oooxxxoooxxxooo", *flaps).flaps == 0


def test_the_table_goes_between_its_marks() -> None:
    judged = [(STEADY, verdict(STEADY, "oooo")), (CUT, verdict(CUT, "oxoo"))]
    assert page.last_line(judged) == "badlink: links=2 right=1 worst_detect_s=0.0 flaps=2"
    text = page.put_into(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", list(page.table(judged)))
    assert "old" not in text
    assert text.startswith(f"before\n{page.BEGIN}\n| link | true |")
    assert text.endswith(f"|\n{page.END}\nafter\n")
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_the_name_server_knows_whom_it_is_told() -> None:
    def query(name: str, kind: int) -> bytes:
        parts = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        return b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + parts + b"\0" + bytes([0, kind, 0, 1])

    address = bytes([10, 77, 7, 2])
    assert asked_for(query("API.cloud.test", 1)) == "api.cloud.test"
    assert answer(query("api.cloud.test", 1), address).endswith(b"\0\4\x0a\x4d\7\2")
    assert answer(query("api.cloud.test", 28), address)[3:8] == b"\x80\0\1\0\0"  # no IPv6 address, and no error
    assert answer(query("elsewhere.test", 1), None)[3] == 0x83


def test_a_stranger_that_is_asked_is_wrong() -> None:
    told = account("oooo")
    told.strangers = ["elsewhere.test"]
    assert wrongs(judge(STEADY, told)) == ["nobody else is asked"]


@pytest.fixture(scope="module")
def papers(require: Require, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Papers]:
    reason = badlink.available() or certificates.missing()
    require(reason is None, str(reason))
    return certificates.make(tmp_path_factory.mktemp("papers"))


@pytest.mark.netns
@pytest.mark.parametrize("way", ["cut", "pulled"])
def test_an_absence_is_noticed_and_its_end_as_well(way: str, papers: dict[str, Papers]) -> None:
    """As `make badlink` does, but for as long as it takes: how soon is judged there, on a machine that does nothing else."""

    def script(stage: Stage) -> None:
        stage.wait(lambda sample: sample.outcomes.get("ok", 0) >= 5, GUARD)
        stage.happened("offline")
        if way == "cut":
            stage.link.cut()
        else:
            stage.link.pull_link()
        stage.wait(lambda sample: sample.state == "disconnected", GUARD)
        if way == "pulled":
            stage.link.plug_link()
        stage.happened("online", stage.link.mend())
        stage.wait(lambda sample: sample.state == "optimal", GUARD)

    found, told = play(World(way, GOOD, script, is_away=True), papers, How())
    words = SILENCE if way == "cut" else ("route", "link")
    reasons = [sample.reason for sample in told.samples if sample.state == "disconnected"]
    assert any(word in reason for reason in reasons for word in words), (reasons, told.errors)
    assert told.samples[-1].state == "optimal"
    assert found.flaps == 0, [sample.state for sample in told.samples]


def test_every_link_of_the_issue_is_played() -> None:
    names = " ".join(world.name for world in WORLDS)
    assert len({world.name for world in WORLDS}) == len(WORLDS) >= 14
    for word in (
        "good",
        "150 ms",
        "300 ms",
        "5 %",
        "20 %",
        "1 Mbit/s",
        "jitter",
        "asymmetric",
        "black hole",
        "link down",
    ):
        assert word in names
    for word in ("no route", "DNS dead", "portal", "flapping each 3 s"):
        assert word in names


def test_the_page_has_its_marks() -> None:
    text = (Path(__file__).parents[2] / "docs" / "network.md").read_text("utf-8")
    assert text.index(page.BEGIN) < text.index(page.END)
