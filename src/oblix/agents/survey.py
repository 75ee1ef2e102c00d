"""Who looks at the network, and when: real traffic first; where it is silent, or in doubt, a look of our own on the sensor's thread."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from oblix.agents.base import Surroundings
from oblix.agents.network.picture import Picture
from oblix.agents.network.reach import STEADY
from oblix.agents.network.way import Way
from oblix.agents.probes.dialling import knock
from oblix.agents.probes.names import Names
from oblix.agents.probes.netlink import Watch
from oblix.agents.probes.scout import Scout
from oblix.agents.sensor import Sensor
from oblix.agents.standpoint import Standpoint
from oblix.types.traffic import OURS, Endpoint, Exchange

JITTER = 0.1  # of a pause, up or down, so that many clients do not look at the same moment
COME_BACK_EVERY = 2.0  # seconds between two looks while the network is down
COME_BACK_LATER = 5.0  # the same after ten minutes: back is still noticed within ten seconds
_LONG_DOWN = 600.0
_DOUBT_EVERY = 0.5  # seconds between two looks at a name that could not be looked up
_DOUBTS_APART = 5.0  # seconds between two looks that only ask how long the way is
_LEAST_PATIENCE = 0.1  # seconds for the answer to a packet of a burst
_BETWEEN_BURSTS = 0.1  # seconds
_SHORTEST_PAUSE = 0.005  # seconds
_LONGEST_LOOK = 8.0  # seconds: four steps of two
_NAP = 5.0  # seconds of sleep that leave everything as it was
_MOST_NEWS = 2000  # exchanges that wait to be taken in; counters go on in the next one


class Survey:
    """The picture of the network, told by the loop and by the sensor's thread. The loop never waits for the thread.

    Attributes:
        picture: Only for who has it open.
        has_news: The thread found something since the flag was last put down.
        woke_at: When the machine was last found to have slept: what was known before is old, whatever the clock says, which slept too.
    """

    def __init__(self, name: str, check_interval: float, rng: random.Random | None = None) -> None:
        self.picture = Picture()
        self.standpoint = Standpoint()
        self.has_news = False
        self.surroundings: Surroundings | None = None
        self._is_on = False
        self._interval = check_interval
        self._rng = rng or random.SystemRandom()
        self._news: deque[Exchange] = deque(maxlen=_MOST_NEWS)
        self._wanted_at = float("-inf")  # when a look at everything was last asked for
        self._jitter: dict[Endpoint, float] = {}  # of the present pauses
        self._stirs = 0  # changes that the system told of
        self._stirs_seen = 0  # those of them after which the routes were looked at
        self._asleep = _asleep()
        self.woke_at = float("-inf")
        self._renew()
        self.sensor: Sensor[None] = Sensor(name, _Weakly(self.turn), _Weakly(self.pause))
        self.watch = Watch(_Weakly(self._stirred))

    def _renew(self) -> None:
        """Begin anew: at first, and after a fork, which took no thread along, but perhaps a lock that one of them held."""
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._names = Names()
        self._scouts: dict[Endpoint, Scout] = {}
        self._looking: set[Endpoint] = set()
        self._began: dict[Endpoint, float] = {}  # when the last look began

    def start(self) -> None:
        """Begin to look, as soon as there is somebody to look at."""
        self._is_on = True
        if self.endpoints():
            self.watch.start()
            self.sensor.start()

    def stop(self) -> None:
        """Look no more. What is told afterwards (the ends of what was in flight) starts nothing again."""
        self._is_on = False
        self.sensor.stop()
        self.watch.stop()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The hooked ones, as they are now."""
        return self.surroundings.cloud_endpoints() if self.surroundings else ()

    def tell(self, exchange: Exchange) -> None:
        """Real traffic was seen; from the loop. Taken in when the picture is next read, at once where it may mean a cut."""
        self._news.append(exchange)
        tcp = exchange.tcp
        if exchange.trouble in OURS or (tcp is not None and tcp.unanswered):
            self._wake()

    def look_now(self) -> None:
        """Something is wrong with the way: see for ourselves, whatever traffic told."""
        self._wanted_at = time.monotonic()
        self._wake()

    def network_may_have_changed(self) -> None:
        """The system said so, or the routes show it."""
        self._wake()

    def _stirred(self) -> None:
        self._stirs += 1
        self._wake()

    def is_unsettled(self) -> bool:
        """Whether the network has changed, and nobody has looked at the routes since: what the picture says may be wrong already."""
        return self._is_on and (self._stirs != self._stirs_seen or self.watch.has_news())

    def _wake(self) -> None:
        if self._is_on:
            self._told.set()
            self.sensor.poke()
            if not self.watch.is_running:
                self.watch.start()

    def see_sleep(self, now: float) -> None:
        """Find out whether the machine slept since the last call."""
        asleep = _asleep()
        if asleep - self._asleep > _NAP:
            self._asleep, self.woke_at = asleep, now
            if self.surroundings is not None:
                self.surroundings.network_changed()
            self.look_now()

    @contextmanager
    def open_picture(self, *, wait: bool) -> Iterator[Picture | None]:
        """The picture, with everything in it that was told; `None` where somebody else has it and is not to be waited for."""
        if self._owner != os.getpid():
            self._renew()
        lock = self._lock
        if not lock.acquire(blocking=wait):
            yield None
            return
        try:
            self.has_news = self.has_news or (wait and bool(self._news))
            while self._news:
                self.picture.take(self._news.popleft())
            self.picture.settle(time.monotonic())
            yield self.picture
        finally:
            lock.release()

    def is_behind(self) -> bool:
        """Whether something was told that the picture does not have yet."""
        return bool(self._news)

    # What follows runs on the sensor's thread.

    def turn(self) -> None:
        """Routes, then whatever is in doubt or due; until every look has ended, or one takes too long."""
        deadline = time.monotonic() + _LONGEST_LOOK
        looked_at: set[Endpoint] = set()
        while True:
            self._told.clear()
            endpoints = self.endpoints()
            self.see_sleep(time.monotonic())
            stirs = self._stirs
            self._see_routes(endpoints)
            self._stirs_seen = stirs
            if self._suspects(endpoints):
                self._knock(endpoints)
            for way in self._due_now(endpoints):
                if way.endpoint not in looked_at:
                    looked_at.add(way.endpoint)
                    self._start_look(way)
            if not self._looking or time.monotonic() > deadline:
                break
            self._told.wait(_DOUBT_EVERY)
        self.has_news = True

    def pause(self) -> float:
        """Seconds until the next turn."""
        endpoints = self.endpoints()
        if not endpoints:
            return self._interval
        if self.standpoint.is_cut_off:
            return min(COME_BACK_EVERY, self._interval)
        ways = self._ways(endpoints)
        if any(way.is_suspect() for way in ways):
            return _BETWEEN_BURSTS
        until = min(self._due_at(way, ways) for way in ways) - time.monotonic()
        return min(max(until, _SHORTEST_PAUSE), self._interval)

    def _ways(self, endpoints: Iterable[Endpoint]) -> tuple[Way, ...]:
        with self.open_picture(wait=True):
            return self.picture.ways(endpoints)

    def _suspects(self, endpoints: Iterable[Endpoint]) -> bool:
        return any(way.is_suspect() for way in self._ways(endpoints))

    def _scout(self, endpoint: Endpoint) -> Scout:
        if endpoint not in self._scouts:
            self._scouts[endpoint] = Scout(endpoint, self._names)
        return self._scouts[endpoint]

    def _due_now(self, endpoints: tuple[Endpoint, ...]) -> list[Way]:
        if self.standpoint.is_cut_off:
            return []  # nothing would leave the machine; a route that comes back is told
        ways, now = self._ways(endpoints), time.monotonic()
        return [way for way in ways if way.endpoint not in self._looking and self._due_at(way, ways) <= now]

    def _due_at(self, way: Way, ways: tuple[Way, ...]) -> float:
        """When this way is to be looked at, if no traffic tells of it before."""
        now, began, reach, pause = time.monotonic(), self._began_at(way), way.reach, self._interval
        if way.endpoint in self._looking:
            return now + _DOUBT_EVERY
        if self._wanted_at > began:
            return began + min(self._interval, COME_BACK_EVERY)  # however often it is wanted
        if way.latency.is_in_doubt(now):
            return began + _DOUBTS_APART
        if way.has_doubtful_name() or (way.is_suspect() and not self._scout(way.endpoint).addresses()):
            return began + min(pause, _DOUBT_EVERY)
        if reach.state == "down":
            pause = min(pause, self._come_back_pause(way, ways, now))
            if reach.good_at is not None:
                return max(way.told_at + 0.1, min(reach.good_at + STEADY, way.told_at + pause))
        jittered = self._jitter.setdefault(way.endpoint, 1 + JITTER * (2 * self._rng.random() - 1))
        return way.told_at + pause * jittered

    def _began_at(self, way: Way) -> float:
        return self._began.get(way.endpoint, float("-inf"))

    def _come_back_pause(self, way: Way, ways: tuple[Way, ...], now: float) -> float:
        if any(other.reach.state == "up" for other in ways):
            return self._interval / 3  # the network is fine; whose provider is not may wait a little
        return COME_BACK_LATER if now - way.reach.since > _LONG_DOWN else COME_BACK_EVERY

    def _start_look(self, way: Way) -> None:
        """Look on a thread of its own: what hangs there stops nobody else."""
        endpoint = way.endpoint
        in_doubt = self._wanted_at > self._began_at(way) or "portal" in (way.trouble, way.reach.trouble)
        self._began[endpoint] = time.monotonic()
        self._jitter.pop(endpoint, None)
        self._looking.add(endpoint)
        threading.Thread(
            target=_look,
            args=(self._scout(endpoint), self._tell_of_look, self._looking, in_doubt),
            name=f"oblix-look-{endpoint.host}",
            daemon=True,
        ).start()

    def _knock(self, endpoints: tuple[Endpoint, ...]) -> None:
        ways = sorted(self._ways(endpoints), key=lambda way: not way.is_suspect())
        targets = {way.endpoint: self._scout(way.endpoint).addresses() for way in ways}
        now = time.monotonic()
        latencies = [figure.value for way in ways if (figure := way.latency.estimate(now))]
        knock(
            targets,
            self._tell_of_look,
            go_on=lambda: self._suspects(endpoints),
            patience=min(max(_LEAST_PATIENCE, 2.5 * max(latencies, default=150.0) / 1000), 1.5),
        )
        self.has_news = True

    def _tell_of_look(self, exchange: Exchange) -> None:
        if exchange.step == "answer":  # a burst was told no
            self._wanted_at = exchange.at
        self._news.append(exchange)
        self.has_news = True
        self._told.set()

    def _see_routes(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Look at the routes; a network that is not the one of before is told to the client, and looked at."""
        addresses = {
            endpoint: [address.host_and_port for address in known]
            for endpoint in endpoints
            if (known := self._scout(endpoint).addresses())
        }
        change = self.standpoint.look(addresses)
        for endpoint in endpoints if self.standpoint.is_cut_off else change.cut_off:
            self._tell_of_look(Exchange(endpoint, time.monotonic(), "connect", is_probe=True, trouble="no_route"))
        if not change:
            return
        self.has_news = True
        if change.is_other_network:
            with self.open_picture(wait=True):
                self.picture.forget()
        self._wanted_at = time.monotonic()
        if self.surroundings is not None:
            self.surroundings.network_changed()


def _asleep() -> float:
    """Seconds that the machine has slept since it was started, as far as the system tells (Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock) - time.monotonic()


def _look(scout: Scout, tell: Callable[[Exchange], None], looking: set[Endpoint], in_doubt: bool) -> None:
    try:
        scout.look(tell, in_doubt=in_doubt)
    finally:
        looking.discard(scout.endpoint)


class _Weakly:
    """Calls a method without keeping its object alive: a client that is dropped must not leave a sensor behind."""

    def __init__(self, method: Callable[[], Any]) -> None:
        assert isinstance(method, MethodType)
        self._method = weakref.WeakMethod(method)

    def __call__(self) -> Any:
        method = self._method()
        return method() if method is not None else 60.0
