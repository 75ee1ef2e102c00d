"""What traffic tells over links that are slow, narrow, lossy or cut: two programs with a bad link between them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from oblix.testing import badlink
from oblix.testing.badlink import BadLink, Way
from oblix.types.traffic import Endpoint, Exchange, TcpInfo

from . import far

Require = Callable[[object, str], None]
pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def whole_link(require: Require) -> Iterator[BadLink]:
    reason = badlink.available()
    require(reason is None, str(reason))
    with BadLink(seed=4) as link, program(*link.in_away, "serve", link.away_address) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield link
        server.kill()


@pytest.fixture
def link(whole_link: BadLink) -> BadLink:
    whole_link.both(Way())
    return whole_link


def program(*words: str) -> subprocess.Popen[str]:
    """One end of the link; the last two words are for the program."""
    command = [*words[:-2], sys.executable, "-m", "tests.models.far", *words[-2:]]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)


class Asker:
    """The end at home."""

    def __init__(self, link: BadLink) -> None:
        self._process = program(*link.in_home, "ask", f"http://{link.away_address}:{far.PORT}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, path: str, size: int = 2) -> None:
        """Ask, without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path} {size}\n")
        self._process.stdin.flush()

    def told(self) -> Iterator[Exchange]:
        """What is told, until the answer to one request has ended; it must have ended well."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found: dict[str, Any] = json.loads(line)
            if "done" in found:
                assert found["done"] == "well"
                return
            if found["tcp"] is not None:
                found["tcp"] = TcpInfo(**found["tcp"])
            yield Exchange(**{**found, "endpoint": Endpoint(*found["endpoint"])})

    def answer(self, path: str, size: int = 2) -> Exchange:
        """Ask, and what is told of the answer."""
        self.ask(path, size)
        *_, last = self.told()
        assert last.step == "answer"
        return last


def first_told(measure: Callable[[], float | None]) -> float | None:
    """Of three tries: on a machine that is busy otherwise a transfer may tell nothing, but never something else."""
    return next((found for _ in range(3) if (found := measure()) is not None), None)


@pytest.mark.parametrize(
    ("mbps", "delay_ms", "size"),
    [(1, 10, 250_000), (10, 10, 1_000_000), (1, 150, 250_000), (10, 150, 2_000_000)],
    ids=["1 Mbit/s", "10 Mbit/s", "1 Mbit/s, 300 ms", "10 Mbit/s, 300 ms"],
)
def test_the_rate_of_a_narrow_link(link: BadLink, mbps: float, delay_ms: float, size: int) -> None:
    link.both(Way(delay_ms=delay_ms, rate_mbps=mbps))
    with Asker(link) as asker:
        down = first_told(lambda: asker.answer(f"/bulk/{size}").down_mbps)
        up = first_told(lambda: asker.answer("/bulk/2", size).up_mbps)
    assert down == pytest.approx(mbps, rel=0.25)
    assert up == pytest.approx(mbps, rel=0.25)


@pytest.mark.parametrize("path", ["/drip/400000/16384/0.02", "/drip/400000/65536/0.06", "/drip/300000/2048/0.005"])
def test_the_rate_of_a_sender_that_takes_its_time_is_not_told(link: BadLink, path: str) -> None:
    link.both(Way(delay_ms=5))
    with Asker(link) as asker:
        assert asker.answer(path).down_mbps is None


def test_little_is_not_enough_for_a_rate(link: BadLink) -> None:
    link.both(Way(delay_ms=10, rate_mbps=1))
    with Asker(link) as asker:
        found = asker.answer("/bulk/60000", 60_000)
    assert (found.up_mbps, found.down_mbps) == (None, None)


def test_a_round_trip(link: BadLink) -> None:
    link.both(Way(delay_ms=60))
    with Asker(link) as asker:
        asker.ask("/bulk/10")
        connect, answer = asker.told()
    assert connect.connect_ms == pytest.approx(120, rel=0.15)
    assert answer.first_byte_ms == pytest.approx(120, rel=0.15)
    assert answer.tcp is not None
    assert answer.tcp.rtt_ms == pytest.approx(120, rel=0.15)


def test_what_is_lost_on_the_way_there(link: BadLink) -> None:
    """700 segments tell the loss within 5 points."""
    link.set(up=Way(delay_ms=2, loss=0.2), down=Way(delay_ms=2))
    before = link.counts().up
    with Asker(link) as asker:
        tcp = asker.answer("/bulk/2", 1_200_000).tcp
    after = link.counts().up
    gone, passed = after.lost - before.lost, after.passed - before.passed
    assert tcp is not None
    assert tcp.segments is not None
    assert tcp.resent is not None
    assert tcp.spurious is not None
    assert tcp.segments >= 700
    assert (tcp.resent - tcp.spurious) / tcp.segments == pytest.approx(gone / (gone + passed), abs=0.05)


def test_a_cut_under_a_slow_answer_and_its_end(link: BadLink) -> None:
    """Nothing is sent any more, so that only the kernel's own questions can show it."""
    with Asker(link) as asker:
        asker.ask("/drip/200/20/0.5")
        told = asker.told()
        connect = next(told)
        link.cut()
        silent = next(pulse for pulse in told if pulse.tcp and (pulse.tcp.unanswered or 0) >= 2)
        assert (silent.step, silent.connection, silent.trouble) == ("pulse", connect.connection, None)
        assert silent.tcp is not None
        assert (silent.tcp.silence or 0.0) > 1.0
        link.mend()
        well = next(pulse for pulse in told if pulse.tcp and pulse.tcp.unanswered == 0)
        assert (well.step, well.connection) == ("pulse", connect.connection)
        *_, answer = told
        assert (answer.step, answer.trouble) == ("answer", None)


def test_a_cut_while_a_connection_is_made(link: BadLink) -> None:
    """The first packets that were sent again are told before anybody gives up."""
    link.cut()
    with Asker(link) as asker:
        asker.ask("/bulk/10")
        told = asker.told()
        pulse = next(told)
        assert pulse.step == "pulse"
        assert pulse.tcp is not None
        assert (pulse.tcp.unanswered, pulse.tcp.rtt_ms) == (1, None)
        assert (pulse.tcp.silence or 0.0) > 0.5
        link.mend()
        connect = next(exchange for exchange in told if exchange.step == "connect")
        assert (connect.connection, connect.trouble) == (pulse.connection, None)
        assert connect.tcp is not None
        assert (connect.tcp.resent or 0) >= 1


def test_no_way_out(link: BadLink) -> None:
    link.remove_route()
    try:
        with Asker(link) as asker:
            asker.ask("/bulk/10")
            found = next(asker.told())
        assert (found.step, found.trouble) == ("connect", "no_route")
    finally:
        link.add_route()
