"""The links on which the agent is judged: what each does, and what should be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

from oblix.testing.badlink import Way

from .stage import Stage

GOOD = Way(delay_ms=10)
SEGMENTS = 720  # data segments; from 700 on the loss is judged by the point
OPTIMAL, DEGRADED, EITHER = ("optimal",), ("degraded",), ("optimal", "degraded")
SILENCE = ("silence", "silent", "no answer")


def steady(stage: Stage) -> None:
    """Small talk, one transfer each way, small talk."""
    stage.settle()
    stage.transfer()
    stage.run(4.0)


def lossy(stage: Stage) -> None:
    """As `steady`, with as many large prompts as it takes to judge the loss."""
    stage.settle()
    stage.upload(SEGMENTS, 30.0)
    stage.run(4.0)


def black_hole(stage: Stage) -> None:
    """Silence for six seconds."""
    stage.settle()
    stage.happened("offline", stage.link.cut())
    stage.run(6.0)
    stage.happened("online", stage.link.mend())
    stage.run(12.0)


def half_a_hole(direction: Literal["up", "down"]) -> Callable[[Stage], None]:
    """Silence for six seconds in one direction."""

    def play(stage: Stage) -> None:
        stage.settle()
        cut = replace(GOOD, cut=True)
        stage.happened("offline", stage.link.set(up=cut) if direction == "up" else stage.link.set(down=cut))
        stage.run(6.0)
        stage.happened("online", stage.link.mend())
        stage.run(12.0)

    return play


def hiccup(stage: Stage) -> None:
    """One second of silence: it need not be told, but if it is, then in two changes."""
    stage.settle()
    stage.happened("offline", stage.link.cut())
    stage.run(1.0)
    stage.happened("online", stage.link.mend())
    stage.run(12.0)


def silence_while_streaming(stage: Stage) -> None:
    """A black hole while nothing is asked and one answer comes slowly."""
    stage.settle()
    stage.ask("quiet")
    stage.ask("drip 12")
    stage.run(3.0)
    stage.happened("offline", stage.link.cut())
    stage.run(6.0)
    stage.happened("online", stage.link.mend())
    stage.run(12.0)


def pulled(stage: Stage) -> None:
    """The cable is out for six seconds."""
    stage.settle()
    stage.link.pull_link()
    stage.happened("offline")
    stage.run(6.0)
    stage.link.plug_link()
    stage.happened("online")
    stage.run(12.0)


def routeless(stage: Stage) -> None:
    """The routes are gone for six seconds."""
    stage.settle()
    stage.link.remove_route()
    stage.happened("offline")
    stage.run(6.0)
    stage.link.add_route()
    stage.happened("online")
    stage.run(12.0)


def nameless(stage: Stage) -> None:
    """The name server is silent for ten seconds, and neither a connection nor a look-up (kept for 30 s) is left over from before."""
    stage.run(32.0)
    stage.names("silent")
    stage.happened("nameless", stage.hang_up())
    stage.run(10.0)
    stage.happened("online", stage.names("talking"))
    stage.run(12.0)


def portal(stage: Stage) -> None:
    """A portal answers in the provider's place for six seconds."""
    stage.settle()
    stage.happened("portal", stage.become("api", "portal"))
    stage.run(6.0)
    stage.happened("online", stage.become("api", "open"))
    stage.run(12.0)


def flapping(stage: Stage) -> None:
    """Three seconds there, three seconds away, six times."""
    stage.settle()
    for _ in range(6):
        stage.run(3.0)
        stage.happened("offline", stage.link.cut())
        stage.run(3.0)
        stage.happened("online", stage.link.mend())
    stage.run(12.0)


def growing(stage: Stage) -> None:
    """The way becomes long, and short again."""
    stage.settle()
    stage.happened("worse", stage.link.both(Way(delay_ms=150)))
    stage.run(8.0)
    stage.happened("better", stage.link.both(GOOD))
    stage.run(12.0)


def one_of_two(stage: Stage) -> None:
    """One of two providers closes its door for six seconds; the network is fine."""
    stage.settle()
    stage.become("api", "closed")
    stage.run(6.0)
    stage.become("api", "open")
    stage.run(6.0)


def one_of_two_silent(stage: Stage) -> None:
    """One of two providers vanishes; the network is fine."""
    stage.settle()
    stage.lose("other")
    stage.run(15.0)


def silence_while_idle(stage: Stage) -> None:
    """A black hole while nothing is asked: it has to be noticed within two seconds from the next question."""
    stage.settle()
    stage.ask("quiet")
    stage.run(3.0)
    stage.link.cut()
    stage.run(6.0)
    stage.happened("offline")
    stage.ask("Are you there?")
    stage.ask("talk")
    stage.run(6.0)
    stage.happened("online", stage.link.mend())
    stage.run(12.0)


@dataclass(frozen=True, slots=True)
class World:
    """One link.

    Attributes:
        way: What it does to packets in both directions, or, where `back` is given, on the way there.
        play: What happens on it. The client talks all the time.
        ends: The states that are right at the end.
        learns: Changes of state that only tell that more is known now, on a link that did not change.
        is_away: At times there is no way to the cloud. On the other links `disconnected` is wrong at any time.
        words: One of these must be in the reason while the way is away.
        patience: Seconds more until an absence must be noticed, where loss and long round trips make silence mean less.
        providers: The hooked models, by the name of their host.
        seconds: About how long it takes; the longest ones begin first.
    """

    name: str
    way: Way
    play: Callable[[Stage], None] = steady
    _: KW_ONLY
    back: Way | None = None
    ends: tuple[str, ...] = OPTIMAL
    learns: int = 0
    is_away: bool = False
    words: tuple[str, ...] = ()
    patience: float = 0.0
    providers: tuple[str, ...] = ("api",)
    scheme: Literal["http", "https"] = "http"
    seconds: float = 20.0


WORLDS = (
    World("good", Way()),
    World("150 ms", Way(delay_ms=75)),
    World("300 ms", Way(delay_ms=150), ends=DEGRADED, learns=1),
    World("20 ms, then 300 ms, then 20 ms", GOOD, growing),
    World("jitter", Way(delay_ms=40, jitter_ms=40)),
    World("jitter around the threshold", Way(delay_ms=90, jitter_ms=20), ends=EITHER, learns=1),
    World("5 % loss", replace(GOOD, loss=0.05), lossy, seconds=40),
    World("10 % loss, at the threshold", replace(GOOD, loss=0.1), lossy, ends=EITHER, learns=1, seconds=40),
    World("20 % loss", replace(GOOD, loss=0.2), lossy, ends=DEGRADED, learns=1, seconds=40),
    World("15 % loss, only back", GOOD, lossy, back=replace(GOOD, loss=0.15), ends=EITHER, learns=1, seconds=40),
    World("10 Mbit/s", replace(GOOD, rate_mbps=10)),
    World("1 Mbit/s", replace(GOOD, rate_mbps=1), ends=DEGRADED, learns=1),
    World("asymmetric", replace(GOOD, rate_mbps=2), back=Way(delay_ms=50, rate_mbps=8), ends=DEGRADED, learns=1),
    World("black hole", GOOD, black_hole, is_away=True, words=SILENCE),
    World("black hole, only there", GOOD, half_a_hole("up"), is_away=True, words=SILENCE),
    World("black hole, only back", GOOD, half_a_hole("down"), is_away=True, words=SILENCE),
    World(
        "black hole after 300 ms, 5 % loss",
        Way(delay_ms=150, loss=0.05),
        black_hole,
        is_away=True,
        ends=DEGRADED,
        learns=1,
        patience=2.0,
    ),
    World("black hole under a slow answer", GOOD, silence_while_streaming, is_away=True, words=SILENCE),
    World("black hole while idle", GOOD, silence_while_idle, is_away=True, words=SILENCE, seconds=35),
    World("one second of silence", GOOD, hiccup, is_away=True),
    World("flapping each 3 s", GOOD, flapping, is_away=True, seconds=50),
    World("link down", GOOD, pulled, is_away=True, words=("route", "link")),
    World("no route", GOOD, routeless, is_away=True, words=("route",)),
    World("DNS dead", GOOD, nameless, is_away=True, words=("name", "DNS", "looked up"), seconds=55),
    World("portal", GOOD, portal, is_away=True, words=("portal",)),
    World("portal before TLS", GOOD, portal, is_away=True, words=("portal",), scheme="https"),
    World("one of two providers closed", GOOD, one_of_two, providers=("api", "other")),
    World("one of two providers silent", GOOD, one_of_two_silent, providers=("api", "other")),
)
