"""What a run has found: counted, added up over processes, and told in lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .cases import CONTROLS, Case
from .play import Outcome
from .secrets import leaked
from .world import Sighting

SHOWN = 10  # findings that are printed


@dataclass(slots=True)
class Tally:
    """Counters of a run.

    Attributes:
        requests: Private requests, by rig.
        leaked_bytes: All that clouds and strangers were sent while only private requests were made, and secrets found elsewhere.
        connections: That were opened to a cloud meanwhile.
        lookups: Of hosts away from home meanwhile.
        endings: Where the answer came from, or which error came instead.
        refusals: Attempts that the guard ended, by rig.
        asked: Requests of each control.
        fired: Those of them whose secret was found at the cloud's side, which had been looked up for them.
        met: Kinds of faults × moments × wires of the models at home.
        redacted: Requests whose secret was to be taken out.
        sent: Those of them that a cloud was sent, with a placeholder.
        ways: How the prompts came to be private.
        findings: What must not be, in words.
    """

    requests: Counter[str] = field(default_factory=Counter)
    leaked_bytes: int = 0
    connections: int = 0
    lookups: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    met: set[tuple[str, str, str]] = field(default_factory=set)
    ways: Counter[str] = field(default_factory=Counter)
    redacted: int = 0
    sent: int = 0
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """One private request."""
        case = outcome.case
        self.requests[case.rig] += 1
        self.endings[outcome.ending] += 1
        self.refusals[case.rig] += outcome.refusals
        self.ways[case.way] += 1
        self.met.add((case.fault.kind, case.fault.moment, case.edge.wire))
        if outcome.ending == "cloud":
            self.findings.append(f"the cloud answered {case}")
        self.findings += [f"{what} for {case}" for what in outcome.strange]

    def see(self, seen: Sighting, who: object) -> None:
        """What the outside saw while only private requests were made."""
        self.leaked_bytes += len(seen.received)
        self.connections += seen.connections
        self.lookups += len(seen.asked)
        if not seen.is_nothing:
            self.findings.append(f"{seen.received[:300]!r}, {seen.connections} connections, {seen.asked} for {who}")

    def see_redacted(self, outcome: Outcome, seen: Sighting) -> None:
        """One request that a cloud may have, but for its secret."""
        self.redacted += 1
        self.sent += outcome.case.marker.encode() in seen.received
        self.findings += [f"{what} for {outcome.case}" for what in outcome.strange]
        self.search(outcome.case, seen.received, "a cloud")

    def search(self, case: Case, received: bytes, where: str) -> None:
        """A secret in what was sent."""
        if count := leaked(case.secret, received):
            self.leaked_bytes += count
            self.findings.append(f"{where} got the secret of {case}")

    def see_strangers(self, received: int, connections: int, asked: Sequence[str]) -> None:
        """What reached the proxy that the environment names, and look-ups of hosts that no model has."""
        self.leaked_bytes += received
        self.lookups += len(asked)
        if connections or asked:
            self.findings.append(f"the proxy got {received} bytes on {connections} connections; looked up: {asked}")

    def check(self, case: Case, seen: Sighting) -> None:
        """One request of a control, which the recorder must have seen."""
        self.asked[case.rig] += 1
        if leaked(case.secret, seen.received) and seen.asked and seen.connections:
            self.fired[case.rig] += 1
        else:
            self.findings.append(f"a control did not fire: {case}")

    def merge(self, other: Tally) -> None:
        """Add what another process has found."""
        for name in ("requests", "endings", "refusals", "asked", "fired", "ways"):
            getattr(self, name).update(getattr(other, name))
        for name in ("leaked_bytes", "connections", "lookups", "redacted", "sent"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.met |= other.met
        self.findings += other.findings
        self.seconds = max(self.seconds, other.seconds)

    @property
    def is_good(self) -> bool:
        """Nothing leaked, every control fired, and nothing held by chance."""
        controls = all(self.fired[rig] == self.asked[rig] > 0 for rig in CONTROLS)
        silent = self.leaked_bytes == self.connections == self.lookups == 0
        # Where the mind was broken it was the guard that held, and what was redacted was sent.
        held = self.refusals["guard_alone"] > 0 and self.sent > 0
        return silent and controls and held and not self.findings

    def lines(self) -> Iterator[str]:
        """The figures, then what is wrong; the last line is the verdict."""
        total = self.requests.total()
        kinds, moments, wires = (len({row[at] for row in self.met}) for at in range(3))
        yield f"faults: {kinds} kinds, {moments} moments, {wires} wires at home, {len(self.met)} combinations; {self.seconds:.0f} s"
        yield f"private by: {', '.join(f'{name} {count}' for name, count in self.ways.most_common())}"
        yield f"endings: {', '.join(f'{name} {count}' for name, count in self.endings.most_common())}"
        for rig, count in sorted(self.requests.items()):
            yield f"{rig}: {count} private requests, {self.refusals[rig]} attempts refused by the guard"
        yield f"clouds: {self.connections} connections, {self.lookups} look-ups of their names"
        yield f"redacted: {self.redacted} requests, {self.sent} of them sent to a cloud with placeholders"
        for rig in CONTROLS:
            yield f"control {rig}: {self.fired[rig]} of {self.asked[rig]} requests seen by the recorder"
        yield from self.findings[:SHOWN]
        yield f"privacy: requests={total} leaked_bytes={self.leaked_bytes}"
