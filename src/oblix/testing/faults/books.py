"""What an upstream keeps: the requests that it got, the answers that left, and what a provider would bill for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from oblix.types.spec import Price

if TYPE_CHECKING:
    from oblix.testing.faults.kind import Fault

# Round figures, so that a test can do the sum in its head; no provider's own.
PRICE = Price(1.0, 5.0, "fault server")


@dataclass(slots=True)
class Received:
    """One request, as it came.

    Attributes:
        marker: The first `REQ-` and five or more digits in the body; empty without one.
        method: As in `POST`.
        path: Without its query.
        head: Raw bytes of request line and headers.
        body: Raw bytes.
        time: When it was whole, in seconds of the loop's clock.
        connection: Its number at this upstream, from 1.
        fault: What was played instead of, or inside of, a healthy answer.
        pieces: The pieces of text that have left so far.
    """

    marker: str
    method: str
    path: str
    head: bytes
    body: bytes
    time: float
    connection: int
    fault: Fault | None = None
    pieces: list[str] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        """Headers by their names in lower case."""
        rows = (row.partition(":") for row in self.head.decode("latin-1").split("\r\n")[1:] if row)
        return {name.lower(): value.strip() for name, _, value in rows}

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        """What has left of the answer so far."""
        return "".join(self.pieces)


@dataclass(slots=True)
class BillRow:
    """What a provider bills for one request that it accepted. Output counts what was generated, thoughts too, delivered or not."""

    marker: str
    input_tokens: int
    price: Price
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def usd(self) -> float:
        """Input and output at the upstream's price."""
        return self.price.cost(self.input_tokens, self.output_tokens, self.cached_tokens)
