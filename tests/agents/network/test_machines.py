"""Silence, reach, and the way to one endpoint: what each event leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from oblix.agents.network.picture import Picture
from oblix.agents.network.reach import STEADY, Reach
from oblix.agents.network.silence import SHORTEST, Silence
from oblix.agents.network.verdict import Limits, Quality, exceeded, in_words
from oblix.agents.network.way import Way
from oblix.types.traffic import Endpoint, Exchange, TcpInfo, Trouble

HOST = Endpoint("https", "api.example", 443)


def seen(at: float, trouble: Trouble | None = None, **found: object) -> Exchange:
    return Exchange(HOST, at, "connect", trouble=trouble, **found)  # type: ignore[arg-type]  # fields of an exchange


def pulse(at: float, unanswered: int, silence: float, connection: int = 1) -> Exchange:
    tcp = TcpInfo(unanswered=unanswered, silence=silence, rtt_ms=20.0)
    return Exchange(HOST, at, "pulse", connection=connection, tcp=tcp)


# --- silence ---


def test_it_takes_as_many_packets_as_the_loss_of_the_way_demands() -> None:
    needed = {}
    for share in (0.0, 0.36, 0.9):
        silence = Silence()
        silence.heard(0.0)
        while not silence.is_cut(10.0, share):
            silence.lost(1.0)
        needed[share] = silence.packets
    assert needed == {0.0: 10, 0.36: 19, 0.9: 65}


def test_it_takes_a_while_as_well() -> None:
    silence = Silence()
    for _ in range(50):
        silence.lost(1.0)
    assert not silence.is_cut(1.0 + SHORTEST - 0.01, 0.15)
    assert silence.is_cut(1.0 + SHORTEST, 0.15)


def test_whatever_is_heard_forgives_what_was_sent_before() -> None:
    silence = Silence()
    silence.unanswered(1, 3, 1.0)
    silence.lost(0.9)
    assert silence.packets == 4
    assert silence.heard(2.0) == 4
    assert (silence.packets, silence.began_at) == (0, None)
    silence.lost(1.5)  # sent before that
    silence.unanswered(1, 3, 2.1)  # the same three
    assert silence.packets == 0
    silence.unanswered(1, 5, 2.5)
    assert silence.packets == 2
    silence.unanswered(1, 1, 3.0)  # answered in between
    assert silence.packets == 1
    silence.unanswered(1, 0, 3.1)
    assert silence.packets == 0
    assert silence.heard(1.0) == 0


def test_an_outage_with_thousands_of_failed_connections_is_counted_in_no_time_and_space() -> None:
    silence = Silence()
    for connection in range(20_000):
        silence.unanswered(connection, 2, float(connection))
        silence.given_up(connection, connection - 0.5)
    assert silence.packets == 1000
    assert not silence._unanswered
    for connection in range(20_000):
        silence.unanswered(connection, 2, float(connection))
    assert len(silence._unanswered) == 256


class Silences(RuleBasedStateMachine):
    """Whatever comes, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.silence, self.now = Silence(), 0.0

    @rule(by=st.floats(0.01, 5))
    def wait(self, by: float) -> None:
        self.now += by

    @rule(by=st.floats(0.01, 1))
    def hear(self, by: float) -> None:
        self.now += by
        self.silence.heard(self.now)
        assert self.silence.packets == 0

    @rule(connection=st.integers(1, 80), count=st.integers(0, 9))
    def unanswered(self, connection: int, count: int) -> None:
        self.silence.unanswered(connection, count, self.now)

    @rule(ago=st.floats(0, 5))
    def lose(self, ago: float) -> None:
        self.silence.lost(self.now - ago)

    @rule(connection=st.integers(1, 80), ago=st.floats(0, 5))
    def give_up(self, connection: int, ago: float) -> None:
        before = self.silence.packets
        self.silence.given_up(connection, self.now - ago)
        assert self.silence.packets >= before - 1

    @invariant()
    def nothing_is_concluded_from_nothing(self) -> None:
        assert self.silence.packets >= 0
        if self.silence.packets == 0:
            assert not self.silence.is_cut(self.now, 0.15)


TestSilences = Silences.TestCase


# --- reach ---

events = st.lists(st.tuples(st.floats(0.1, 5), st.sampled_from([None, "silence", "refused"])), max_size=40)


@given(events)
def test_fast_down_slow_up(story: list[tuple[float, Trouble | None]]) -> None:
    reach, at, good_since = Reach(), 0.0, None
    for pause, what in story:
        at += pause
        if what is None:
            good_since = at if good_since is None else good_since
            before, reach = reach, reach.contact(at)
            if before.state == "down" and reach.state == "up":
                assert at - good_since >= STEADY
            assert reach.state == "up" or before.state == "down"
        else:
            good_since = None
            reach = reach.failure(at, what)
            assert (reach.state, reach.trouble) == ("down", what)


def test_a_contact_from_before_the_cut_is_no_way_back() -> None:
    assert Reach().failure(10.0, "silence").contact(9.0).good_at is None


# --- one way ---


@pytest.mark.parametrize(
    ("trouble", "times", "state"),
    [
        ("no_route", 1, "down"),
        ("refused", 1, "down"),
        ("certificate", 1, "down"),
        ("portal", 1, "down"),
        ("reset", 1, "up"),
        ("reset", 2, "down"),
        ("silence", 5, "up"),
        ("other", 1, "up"),
        ("other", 2, "down"),
        ("lookup", 1, "up"),
    ],
)
def test_what_each_trouble_of_a_connection_means(trouble: Trouble, times: int, state: str) -> None:
    way = Way(HOST)
    way.take(seen(0.0))
    for i in range(times):
        way.take(seen(1.0 + i, trouble, is_probe=trouble == "no_route"))
        way.settle(1.5 + i, 0.15, 0.05)
    assert way.reach.state == state


def test_a_certificate_that_was_right_once_is_a_strangers_now() -> None:
    way = Way(HOST)
    way.take(seen(0.0, tls_ms=20.0))
    way.take(seen(1.0, "certificate"))
    assert way.reach.trouble == "portal"


def test_a_call_without_a_route_is_a_suspicion_only() -> None:
    """One address of a name with several may have none."""
    way = Way(HOST)
    way.take(seen(0.0))
    way.take(seen(1.0, "no_route"))
    way.settle(1.0, 0.15, 0.05)
    assert way.reach.state == "up"
    assert way.is_suspect()


def test_one_address_that_refuses_in_a_burst_ends_the_silence_and_condemns_nobody() -> None:
    way = Way(HOST)
    way.take(seen(0.0))
    way.take(seen(1.0, "silence", connect_ms=100.0, is_probe=True))
    assert way.is_suspect()
    way.take(Exchange(HOST, 1.1, "answer", is_probe=True, trouble="refused"))
    assert not way.is_suspect()
    assert way.reach.state == "up"


def test_a_limit_that_was_exceeded_stays_so_until_it_is_measured_again() -> None:
    was = frozenset({"bandwidth_mbps"})
    assert exceeded(Quality(20.0, 0.0, None), Limits(), was) == was
    assert in_words(Quality(20.0, 0.0, None), Limits(), was) == "bandwidth was poor when it was last measured"
    assert exceeded(Quality(20.0, 0.0, 6.0), Limits(), was) == was
    assert exceeded(Quality(20.0, 0.0, 7.0), Limits(), was) == frozenset()


def test_answers_that_break_do_not_mean_that_the_way_is_cut() -> None:
    way = Way(HOST)
    way.take(seen(0.0))
    for i in range(5):
        way.take(Exchange(HOST, 1.0 + i, "answer", trouble="reset"))
    assert way.reach.state == "up"


def test_a_resolver_that_says_no_twice_is_believed_and_one_that_is_silent_after_four_times() -> None:
    for lookup_ms, needed in ((5.0, 2), (5000.0, 4)):
        way, times = Way(HOST), 0
        way.take(seen(0.0))
        while way.reach.state == "up":
            times += 1
            way.take(seen(6.0 * times, "lookup", lookup_ms=lookup_ms))
            way.settle(6.0 * times, 0.15, 0.05)
        assert (times, way.reach.trouble) == (needed, "lookup")


def test_names_that_fail_mean_little_while_real_answers_come() -> None:
    way = Way(HOST)
    for at in range(20):
        way.take(seen(float(at), "lookup", lookup_ms=5.0))
        way.take(Exchange(HOST, at + 0.5, "answer", connection=1, first_byte_ms=20.0))
        way.settle(at + 0.6, 0.15, 0.05)
    assert way.reach.state == "up"


def test_an_address_of_before_that_answers_does_not_bring_the_name_back() -> None:
    way = Way(HOST)
    for at in (0.0, 1.0):
        way.take(seen(at, "lookup", lookup_ms=5.0, is_probe=True))
    way.settle(1.0, 0.15, 0.05)
    for at in range(2, 10):
        way.take(seen(float(at), is_probe=True, connect_ms=20.0))
    assert (way.reach.state, way.reach.trouble) == ("down", "lookup")
    assert way.answers_by_address_at == 9.0
    way.take(seen(10.0, is_probe=True, lookup_ms=5.0))
    way.take(seen(13.5, is_probe=True, lookup_ms=5.0))
    assert way.reach.state == "up"


def test_an_answer_that_is_given_up_in_a_black_hole_is_no_contact() -> None:
    """Four prompts that lose patience, while nothing comes: neither the first nor the last of them brings the way back."""
    way = Way(HOST)
    way.take(seen(0.0))
    for i, at in enumerate((5.0, 7.0, 9.0, 13.0)):
        tcp = TcpInfo(unanswered=8, silence=at - 1.0, rtt_ms=20.0)
        way.take(Exchange(HOST, at, "answer", connection=i, tcp=tcp))
        way.take(Exchange(HOST, at, "answer", connection=9))  # where the kernel tells nothing
        way.settle(at, 0.15, 0.05)
    assert way.reach.state == "down"
    assert way.reach.good_at is None
    assert way.silence.packets == 32


def test_a_slow_answer_that_is_given_up_says_that_the_peer_still_acknowledged() -> None:
    way = Way(HOST)
    way.take(seen(0.0))
    way.take(Exchange(HOST, 20.0, "answer", connection=1, tcp=TcpInfo(unanswered=0, silence=0.9, rtt_ms=20.0)))
    assert way.silence.heard_at == 19.1
    assert way.reach.state == "up"


def test_a_connection_that_is_answered_again_is_a_contact() -> None:
    way = Way(HOST)
    way.take(seen(0.0))
    way.take(pulse(2.0, 3, 1.5))
    assert way.is_suspect()
    way.take(pulse(2.25, 0, 0.1))
    assert not way.is_suspect()
    way.take(pulse(3.0, 1, 0.85))  # the silence began when it was last heard: that is no news
    way.take(pulse(3.25, 1, 1.096))
    assert way.silence.packets == 1


# --- the picture ---


def test_a_silent_way_among_others_is_its_providers_and_the_network_goes_on() -> None:
    picture, other = Picture(), Endpoint("https", "other.example", 443)
    picture.take(seen(0.0))
    picture.take(Exchange(other, 0.0, "connect"))
    for i in range(12):
        picture.take(seen(2.0 + i / 10, "silence", connect_ms=150.0))
        picture.take(Exchange(other, 2.0 + i / 10, "connect", is_probe=True, connect_ms=20.0))
        picture.settle(2.0 + i / 10)
    assert [way.reach.state for way in picture.ways((HOST, other))] == ["down", "up"]


def test_another_network_has_other_figures() -> None:
    picture = Picture()
    picture.take(seen(0.0, connect_ms=20.0))
    picture.take(Exchange(HOST, 1.0, "answer", connection=1, up_mbps=8.0, tcp=TcpInfo(segments=5, resent=1)))
    assert picture.figures((HOST,), 2.0).up_mbps is not None
    picture.forget()
    assert picture.figures((HOST,), 2.0) == (None, None, None, None, None)
    assert picture.way(HOST).reach.state == "up"
