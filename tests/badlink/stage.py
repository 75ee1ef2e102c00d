"""One world while it is played: the link, the servers beyond it, the client this side of it, and what was heard of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self

from oblix.testing import netns
from oblix.testing.badlink import BadLink, BothCounts, Way

from .away import PORT, PROVIDERS, ZONE, Papers, Stance

ROOT = Path(__file__).parents[2]
SPEAKS_WITHIN = 30.0  # seconds until the client is imported and has been asked once; 1 s on a free machine
What = Literal["offline", "online", "nameless", "portal", "worse", "better"]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What is the same for all worlds of a run.

    Attributes:
        seed: Decides which packets are lost.
        congestion: TCP's way to find its pace; `None` for this machine's own.
    """

    seed: int = 1
    congestion: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A real change: the way to the cloud is `offline` or `online`, no name can be looked up (`nameless`), a `portal` answers, the link
    has become so much `worse` or `better` that another state is right."""

    at: float
    what: What


@dataclass(frozen=True, slots=True)
class Sample:
    """What the agent said at one time."""

    at: float
    state: str
    reason: str
    metrics: Mapping[str, Any]
    _: KW_ONLY
    outcomes: Mapping[str, int] = field(default_factory=dict)
    long: int = 0
    starved: float = 0.0  # seconds


@dataclass(slots=True)
class Account:
    """All that is known of a world that was played."""

    began: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    up: Way = field(default_factory=Way)
    down: Way = field(default_factory=Way)
    counts: BothCounts | None = None
    sent_up: bool = False  # a transfer of 200 kB or more went there, and one came here
    sent_down: bool = False
    strangers: Sequence[str] = ()  # names that were looked up and are no hooked provider's
    errors: str = ""  # of the child


class Stage:
    """A world, for `with`; a script drives it."""

    def __init__(self, models: Sequence[str], scheme: str, papers: dict[str, Papers], how: How) -> None:
        self.link = BadLink(seed=how.seed)
        self._congestion = how.congestion
        self.account = Account()
        subnet = self.link.away_address.rpartition(".")[0]
        self._addresses = {name: f"{subnet}.{number}" for name, number in PROVIDERS.items()}
        self._models = models
        self._scheme = scheme
        self._papers = papers
        self._processes: list[subprocess.Popen[str]] = []
        self._listeners: list[threading.Thread] = []
        self._heard = threading.Condition()
        self._errors: list[str] = []

    def open(self) -> Self:
        """Start everything."""
        try:
            self._join_networks()
            papers = self._papers if self._scheme == "https" else {}
            told = {name: {"certificate": pair.certificate, "key": pair.key} for name, pair in papers.items()}
            self._away = self._start(self.link.in_away, "away", {"addresses": self._addresses, "papers": told})
            assert _output(self._away).readline() == "ready\n", "the servers did not start"
        except BaseException:
            self.close()
            raise
        return self

    def raise_curtain(self, up: Way, down: Way) -> bool:
        """Make the link what it is to be, and start the client; whether its agent says something."""
        self.link.set(up, down)
        endpoints = [(name, f"{self._scheme}://{name}.{ZONE}:{PORT}/v1") for name in self._models]
        self._child = self._start(self.link.in_home, "child", endpoints, subprocess.PIPE)
        for listen in (self._hear, self._overhear):
            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            self._listeners.append(listener)
        speaks = self.wait(lambda sample: True, SPEAKS_WITHIN)
        self.account.began = self.account.samples[0].at if speaks else time.monotonic()
        return speaks

    def close(self) -> None:
        """End everything."""
        for process in reversed(self._processes):  # the client first: it must not see the servers go
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(3.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for listener in self._listeners:
            listener.join()
        for process in self._processes:
            for pipe in filter(None, (process.stdout, process.stderr)):
                pipe.close()
        self.link.close()
        self.account.errors = "".join(self._errors)[-2000:]

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._write_down()
        finally:
            self.close()

    # --- what a script may do ---

    def settle(self) -> None:
        """Until the first answers have come, and a little longer."""
        self.wait(lambda sample: sample.outcomes.get("ok", 0) >= 5, SPEAKS_WITHIN)
        self.run(3.0)

    def run(self, seconds: float) -> None:
        """Let the world go on for so long. Real time: that is what is measured."""
        time.sleep(seconds)

    def wait(self, condition: Callable[[Sample], bool], most: float) -> bool:
        """Go on until the agent says something, or for so many seconds at most."""
        seen = len(self.account.samples)

        def fulfilled() -> bool:
            return any(map(condition, self.account.samples[seen:]))

        with self._heard:
            return self._heard.wait_for(fulfilled, most)

    def happened(self, what: What, at: float | None = None) -> None:
        """A real change; now, unless said otherwise."""
        self.account.events.append(Event(time.monotonic() if at is None else at, what))

    def ask(self, prompt: str) -> None:
        """Have the client ask something more."""
        assert self._child.stdin is not None
        self._child.stdin.write(prompt + "\n")
        self._child.stdin.flush()

    def transfer(self, kilobytes: int = 300, most: float = 40.0) -> None:
        """One large answer, then one large prompt; until both are over."""
        for way in ("down", "up"):
            self.ask(f"{way} {kilobytes}")
            self.run(0.4)
            self.wait(lambda sample: sample.long == 0, most)
        self.account.sent_down = self.account.sent_up = True

    def upload(self, segments: int, most: float) -> None:
        """Large prompts, until the agent has seen so many data segments."""
        end = time.monotonic() + most
        while time.monotonic() < end and (self.account.samples[-1].metrics.get("segments_up") or 0) < segments:
            self.ask("up 300")
            self.run(0.4)
            self.wait(lambda sample: sample.long < 2, end - time.monotonic())
        self.wait(lambda sample: sample.long == 0, 20.0)

    def become(self, name: str, stance: Stance) -> float:
        """Have a provider answer, be closed, or be replaced by a portal; when that was."""
        return self._told_at(become={name: stance})

    def lose(self, name: str) -> None:
        """Have a provider vanish: its address is nobody's any more, and what is sent there meets silence."""
        netns.ip("-n", self.link.away, "address", "delete", f"{self._addresses[name]}/24", "dev", self.link.device)

    def names(self, how: Literal["silent", "talking"]) -> float:
        """Have the name server answer or be silent; when that was."""
        return self._told_at(names=how)

    def hang_up(self) -> float:
        """Close all connections, in order."""
        return self._told_at(hang_up=True)

    # --- within ---

    def _write_down(self) -> None:
        """What was true in the end."""
        account = self.account
        account.up, account.down, account.counts = self.link.up, self.link.down, self.link.counts()
        account.strangers = self._tell_away()["strangers"]

    def _join_networks(self) -> None:
        self.link.open()
        self.link.look_names_up_at(self._addresses["api"])
        if self._congestion is not None:
            for prefix in (self.link.in_home, self.link.in_away):
                command = [*prefix, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={self._congestion}"]
                subprocess.run(command, check=True, timeout=10)
        for address in self._addresses.values():
            if address != self.link.away_address:
                netns.ip("-n", self.link.away, "address", "add", f"{address}/24", "dev", self.link.device)

    def _told_at(self, **order: object) -> float:
        return float(self._tell_away(**order)["at"])

    def _tell_away(self, **order: object) -> dict[str, Any]:
        assert self._away.stdin is not None
        self._away.stdin.write(json.dumps(order) + "\n")
        self._away.stdin.flush()
        told: dict[str, Any] = json.loads(_output(self._away).readline())
        return told

    def _start(
        self, prefix: Sequence[str], module: str, settings: object, errors: int | None = None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", f"tests.badlink.{module}", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=self._environment(),
        )
        self._processes.append(process)
        return process

    def _environment(self) -> dict[str, str]:
        """Nothing of ours leaks in: no proxy, no key."""
        kept = {
            name: os.environ[name]
            for name in ("PATH", "PYTHONPATH", "HOME", "OBLIX_HOME", "TMPDIR")
            if name in os.environ
        }
        return {
            **kept,
            "LANG": "C.UTF-8",
            **({"SSL_CERT_FILE": self._papers["api"].certificate} if self._papers else {}),
        }

    def _hear(self) -> None:
        for line in _output(self._child):
            told = json.loads(line)
            sample = Sample(
                told["at"],
                told["state"],
                told["reason"],
                told["metrics"],
                outcomes=told["outcomes"],
                long=told["long"],
                starved=told["starved"],
            )
            with self._heard:
                self.account.samples.append(sample)
                self._heard.notify_all()

    def _overhear(self) -> None:
        assert self._child.stderr is not None
        self._errors.extend(self._child.stderr)


def _output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout
