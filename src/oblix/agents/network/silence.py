"""Whether silence means that the way is cut: a sequential test against the loss that the way is known to have."""

from __future__ import annotations

CHANCE = 1e-8  # that loss alone explains the silence. On a way that loses 20 % each way a prompt every 0.3 s asks 10^7 times in a month
LEAST_SHARE = 0.15  # of packets without an answer that any way is held capable of: some 8 % lost in each direction
MOST_SHARE = 0.75
SHORTEST = 0.7  # seconds; radio links are silent for half a second when they change cells
_MOST_CONNECTIONS = 256  # with something unanswered at the same time
_MOST_PACKETS = 1000  # enough for any conclusion
_FIRST_WAIT = (
    0.2  # seconds before a packet is sent again, at least (Linux: TCP_RTO_MIN); twice as long before the next time
)
_MOST_DOUBLINGS = 10


class Silence:
    """Packets in a row that nobody answered, over all connections of one way.

    Attributes:
        heard_at: When anything last came from there.
        began_at: When the first of the unanswered packets left; `None` when there is none.
    """

    def __init__(self) -> None:
        self.heard_at = float("-inf")
        self.began_at: float | None = None
        self._unanswered: dict[int, int] = {}
        self._forgiven: dict[int, int] = {}  # how many of them were sent before something else was heard
        self._lost = 0

    @property
    def packets(self) -> int:
        """How many, since something was last heard."""
        open_ = sum(max(0, count - self._forgiven.get(key, 0)) for key, count in self._unanswered.items())
        return open_ + self._lost

    def heard(self, at: float) -> int:
        """Something came from there. Gives how many packets had remained unanswered before."""
        if at <= self.heard_at:
            return 0
        before = self.packets
        self.heard_at, self.began_at, self._lost = at, None, 0
        self._forgiven = dict(self._unanswered)
        return before

    def unanswered(self, connection: int, count: int, at: float) -> None:
        """One connection has so many packets in a row unanswered, up to now."""
        if count < self._forgiven.get(connection, 0):
            self._forgiven[connection] = 0
        if not count:
            self._forget(connection)
        elif connection in self._unanswered or len(self._unanswered) < _MOST_CONNECTIONS:
            self._unanswered[connection] = count
        self._begin(max(self.heard_at, at - _FIRST_WAIT * (2 ** min(count, _MOST_DOUBLINGS) - 1)))

    def given_up(self, connection: int, sent_at: float) -> None:
        """A connection failed: what it had sent without an answer was lost, one packet at least."""
        was_open = self._unanswered.get(connection, 0) - self._forgiven.get(connection, 0)
        self._forget(connection)
        self._lost = min(self._lost + max(0, was_open - 1), _MOST_PACKETS)
        self.lost(sent_at)

    def _forget(self, connection: int) -> None:
        self._unanswered.pop(connection, None)
        self._forgiven.pop(connection, None)

    def lost(self, sent_at: float) -> None:
        """A packet outside of any connection got no answer in its time."""
        if sent_at > self.heard_at:
            self._lost = min(self._lost + 1, _MOST_PACKETS)
            self._begin(sent_at)

    def is_cut(self, now: float, share: float) -> bool:
        """Whether it is too much for bad luck.

        Args:
            share: Of packets that get no answer on this way when it works, in [0, 1].
        """
        if self.began_at is None or now - self.began_at < SHORTEST:
            return False
        return min(max(share, LEAST_SHARE), MOST_SHARE) ** self.packets < CHANCE

    def _begin(self, at: float) -> None:
        if not self.packets:
            self.began_at = None
        elif self.began_at is None or at < self.began_at:
            self.began_at = at
