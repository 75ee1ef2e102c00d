"""Every kind of fault plays what its row says: the bytes, the moment, the end of the connection; seen from a raw socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

import pytest

from oblix.testing.faults import KINDS, MOMENTS, BillRow, Fault, FaultServer, Kind, Moment, Received, Wire, impossible

from .fault_client import MARKER, PROOFS, QUICK, WIRES, Heard, ask_to_the_end, run

REASONS: dict[Wire, bytes] = {
    "openai": b'"finish_reason":"stop"',
    "claude": b'"stop_reason":"end_turn"',
    "ollama": b'"done":true',
}
ODD_HEADS = {"open_end", "http_1_0"}  # end with the connection instead of a last chunk


@dataclass(frozen=True, slots=True, repr=False)
class Played:
    """One fault, as a client heard it and as the server wrote it down."""

    kind: Kind
    moment: Moment
    wire: Wire
    heard: Heard
    text: str
    answer: str
    asked: list[Received]
    bill: list[BillRow]

    @property
    def half(self) -> str:
        """What has left before the middle."""
        return "".join(self.asked[0].pieces[: max(3, self.bill[0].output_tokens // 2)]) if self.bill else ""

    @property
    def is_right(self) -> bool:
        """Whether a client that looks for text, reason, proof and a clean end finds nothing wrong."""
        body, ends = self.heard.body, self.heard.is_whole or self.kind.name in ODD_HEADS
        return (
            self.text == self.answer
            and REASONS[self.wire] in body
            and bool(re.search(PROOFS[self.wire], body))
            and ends
        )


def combinations(wire: Wire) -> Iterator[tuple[Kind, Moment]]:
    """All that can be."""
    for name, kind in KINDS.items():
        for moment in MOMENTS:
            if impossible(name, moment, wire) is None and not kind.of_upstream:
                yield kind, moment


async def hear(kind: str, moment: Moment, wire: Wire, server: FaultServer) -> Played:
    """Play a fault on an upstream of its own."""
    up = server.upstream(f"{kind} {moment}", wire=wire)
    up.default = Fault(kind, moment)
    heard = await ask_to_the_end(up)
    return Played(KINDS[kind], moment, wire, heard, heard.text(wire), up.answer_for(MARKER), up.requests, up.bill)


def play_all(wire: Wire) -> list[Played]:
    """Every combination of a protocol, at once; what only a cap ends has a short one."""

    async def main() -> list[Played]:
        async with FaultServer(QUICK) as short, FaultServer(replace(QUICK, cap=25.0)) as long:
            playing = [hear(k.name, m, wire, short if k.in_time else long) for k, m in combinations(wire)]
            return await asyncio.gather(*playing)

    return run(main())


def play(kind: str, moment: Moment, wire: Wire) -> Played:
    """One of them."""

    async def main() -> Played:
        async with FaultServer(QUICK) as server:
            return await hear(kind, moment, wire, server)

    return run(main())


@pytest.fixture(scope="module", params=WIRES)
def everything(request: pytest.FixtureRequest) -> list[Played]:
    return play_all(request.param)


def names(rows: Iterator[Played]) -> list[str]:
    return [f"{row.kind.name} {row.moment}" for row in rows]


def test_harmless_kinds_are_right_answers(everything: list[Played]) -> None:
    exempt = {"answer_unasked", "buffered", "no_usage", "continue_100", "hints_103"}  # each has a test of its own
    assert names(p for p in everything if p.kind.harmless and p.kind.name not in exempt and not p.is_right) == []


def test_no_other_kind_looks_like_a_right_answer(everything: list[Played]) -> None:
    told_by_the_head = {
        "status_206",
        "wrong_content_type",
        "both_lengths",
        "deep_json",
        "long_number",
        "error_then_done",
        "more_after_end",
        "endless_after_end",
    }
    wrong = (p for p in everything if not p.kind.harmless and p.kind.name not in told_by_the_head and p.is_right)
    assert names(wrong) == []


def test_the_first_half_has_come_whenever_a_fault_begins_in_mid_stream(everything: list[Played]) -> None:
    assert names(p for p in everything if p.moment == "mid_stream" and not (p.half and p.text.startswith(p.half))) == []


def test_the_whole_text_has_come_whenever_a_fault_begins_at_the_end(everything: list[Played]) -> None:
    assert names(p for p in everything if p.moment == "at_end" and not p.text.startswith(p.answer)) == []


def test_nothing_visible_comes_before_the_first_token(everything: list[Played]) -> None:
    ends_before = {"connection", "in_band", "stream"}
    early = [p for p in everything if p.moment == "before_first_token" and p.kind.family in ends_before]
    assert (
        names(p for p in early if not p.kind.harmless and p.text and p.kind.name not in ("trickle", "error_then_done"))
        == []
    )


def test_the_head_is_a_success_whenever_a_fault_begins_after_it(everything: list[Played]) -> None:
    after = (p for p in everything if p.moment != "before_headers")
    assert names(p for p in after if not re.match(rb"HTTP/1\.[01] 200 ", p.heard.raw)) == []


def test_each_is_written_down_once_and_billed_by_its_rule(everything: list[Played]) -> None:
    assert names(p for p in everything if [a.fault for a in p.asked] != [Fault(p.kind.name, p.moment)]) == []
    assert names(p for p in everything if len(p.bill) != p.kind.bills(p.moment)) == []
    assert names(p for p in everything if p.bill and p.bill[0].output_tokens < len(p.asked[0].pieces)) == []


def test_what_only_a_timer_notices_ends_at_the_cap(everything: list[Played]) -> None:
    endless = (p for p in everything if p.kind.in_time and p.kind.family != "bomb")
    assert names(p for p in endless if p.heard.ending != "reset") == []


def test_bombs_are_bounded(everything: list[Played]) -> None:
    sizes = {f"{p.kind.name} {p.moment}": len(p.heard.raw) for p in everything if p.kind.family == "bomb"}
    assert max(sizes.values()) < 1.3 * QUICK.bomb, sizes


def test_each_failure_has_a_right_classification_and_no_harmless_kind_has_one() -> None:
    for kind in KINDS.values():
        for moment in kind.moments:
            for wire in kind.wires:
                assert bool(kind.expects(moment, wire)) != kind.harmless, (kind.name, moment, wire)


def test_there_are_kinds_of_every_family_and_at_least_forty() -> None:
    assert {kind.family for kind in KINDS.values()} == {
        "status",
        "connection",
        "protocol",
        "stream",
        "in_band",
        "slow",
        "bomb",
    }
    assert len(KINDS) >= 40
    assert all(
        kind.name == name and kind.about.endswith(".") and kind.moments and kind.wires for name, kind in KINDS.items()
    )


def _says(status: int, *, head: bytes = b"", body: bytes = b"") -> Callable[[Played], bool]:
    def check(p: Played) -> bool:
        return p.heard.raw.startswith(b"HTTP/1.1 %d " % status) and head in p.heard.head and body in p.heard.body

    return check


def _wakes_on_a_date(p: Played) -> bool:
    found = re.search(rb"retry-after: (.+? GMT)\r\n", p.heard.head + b"\r\n")
    return found is not None and parsedate_to_datetime(found[1].decode()).utcoffset() is not None


def _ends(ending: str, *, whole: bool) -> Callable[[Played], bool]:
    return lambda p: (p.heard.ending, p.heard.is_whole) == (ending, whole)


def _lacks(what: bytes) -> Callable[[Played], bool]:
    return lambda p: p.heard.is_whole and what not in p.heard.body


def _has(what: bytes) -> Callable[[Played], bool]:
    return lambda p: what in p.heard.raw


def _promises(more: Callable[[int], bool]) -> Callable[[Played], bool]:
    def check(p: Played) -> bool:
        found = re.search(rb"content-length: (\d+)", p.heard.head)
        return found is not None and more(int(found[1]) - len(p.heard.body))

    return check


def _unzips(p: Played) -> bool:
    return b"content-encoding: gzip" in p.heard.head and REASONS[p.wire] in gzip.decompress(p.heard.body)


def _is_unasked(p: Played) -> bool:
    first, _, second = p.heard.raw.partition(b"\r\n0\r\n\r\n")
    return REASONS[p.wire] in first and second.startswith(b"HTTP/1.1 200 ") and b"nobody asked for" in second


def _is_one_object(p: Played) -> bool:
    return p.answer in json.loads(p.heard.body)["choices"][0]["message"]["content"]


def _interim(status: bytes) -> Callable[[Played], bool]:
    def check(p: Played) -> bool:
        first, _, rest = p.heard.raw.partition(b"\r\n\r\n")
        return first.startswith(b"HTTP/1.1 " + status) and Heard(rest, "fin").text(p.wire) == p.answer

    return check


_Check = Callable[[Played], bool]
TABLE: list[tuple[str, Moment, Wire, _Check]] = [
    ("status_400", "before_headers", "openai", _says(400, body=b"invalid_request_error")),
    ("status_401", "before_headers", "openai", _says(401, body=b"invalid_api_key")),
    ("status_401", "before_headers", "claude", _says(401, body=b"authentication_error")),
    ("status_402", "before_headers", "claude", _says(402, body=b"billing_error")),
    ("status_403", "before_headers", "claude", _says(403, body=b"permission_error")),
    ("model_missing", "before_headers", "openai", _says(404, body=b"model_not_found")),
    ("model_missing", "before_headers", "claude", _says(404, body=b"not_found_error")),
    ("model_missing", "before_headers", "ollama", _says(404, body=b"model 'played' not found")),
    ("route_missing", "before_headers", "ollama", _says(404, head=b"text/plain", body=b"404 page not found")),
    ("context_400", "before_headers", "claude", _says(400, body=b"9001 tokens > 8192 maximum")),
    ("limit_bare", "before_headers", "openai", lambda p: _says(429)(p) and b"retry-after" not in p.heard.head),
    ("limit_seconds", "before_headers", "openai", _says(429, head=b"retry-after: 7")),
    ("limit_ms", "before_headers", "openai", _says(429, head=b"retry-after-ms: 1500")),
    ("limit_date", "before_headers", "claude", _wakes_on_a_date),
    ("limit_negative", "before_headers", "claude", _says(429, head=b"retry-after: -5")),
    ("spend_limit", "before_headers", "openai", _says(429, body=b"insufficient_quota")),
    ("spend_limit", "before_headers", "ollama", _says(429, body=b"usage limit")),
    ("empty_500", "before_headers", "openai", lambda p: _says(500)(p) and p.heard.body == b""),
    ("page_502", "before_headers", "openai", _says(502, head=b"text/html", body=b"<h1>502</h1>")),
    ("loading", "before_headers", "openai", _says(503, body=b"Loading model")),
    ("status_529", "before_headers", "claude", _says(529, body=b"overloaded_error")),
    ("status_204", "before_headers", "openai", lambda p: _says(204)(p) and p.heard.body == b""),
    ("status_206", "before_headers", "openai", lambda p: _says(206)(p) and p.text == p.answer),
    ("error_body", "before_headers", "ollama", _says(200, head=b"application/json", body=b'{"error":')),
    ("reset", "before_headers", "openai", lambda p: p.heard == Heard(b"", "reset")),
    ("close", "before_headers", "openai", lambda p: p.heard == Heard(b"", "fin")),
    ("half_close", "before_headers", "openai", lambda p: p.heard == Heard(b"", "fin")),
    ("stall", "before_headers", "openai", lambda p: p.heard == Heard(b"", "reset")),
    ("reset", "mid_stream", "claude", _ends("reset", whole=False)),
    ("close", "at_end", "claude", _ends("fin", whole=False)),
    ("cut_in_status", "before_headers", "openai", lambda p: p.heard == Heard(b"HTTP/1.1 2", "reset")),
    (
        "cut_in_headers",
        "before_headers",
        "openai",
        lambda p: b"HTTP/1.1 200" in p.heard.raw and b"\r\n\r\n" not in p.heard.raw,
    ),
    ("noise", "before_headers", "openai", lambda p: not p.heard.raw.startswith(b"HTTP")),
    ("tls_alert", "before_headers", "openai", lambda p: p.heard.raw[:3] == b"\x15\x03\x03"),
    (
        "open_end_cut",
        "mid_stream",
        "openai",
        lambda p: b"chunked" not in p.heard.head and b"content-length" not in p.heard.head,
    ),
    ("captive_portal", "before_headers", "openai", _says(200, head=b"text/html", body=b"<html>")),
    ("wrong_content_type", "before_headers", "claude", _says(200, head=b"text/plain")),
    ("bad_status_line", "before_headers", "openai", _has(b"HTTP/1.1 okay fine\r\n")),
    ("bad_header", "before_headers", "openai", _has(b"\r\ncontent type text\r\n")),
    ("nul_header", "before_headers", "openai", _has(b"\0")),
    ("huge_header", "before_headers", "openai", lambda p: len(p.heard.head) > 1 << 20),
    ("gzip_unasked", "before_headers", "claude", _unzips),
    (
        "both_lengths",
        "before_headers",
        "openai",
        lambda p: b"content-length: 5" in p.heard.head and b"chunked" in p.heard.head,
    ),
    ("length_too_long", "mid_stream", "openai", _promises(lambda missing: missing > 0)),
    ("length_too_long", "at_end", "openai", _promises(lambda missing: missing == 1000)),
    ("length_too_short", "mid_stream", "openai", _promises(lambda missing: missing < 0)),
    ("bad_chunk", "mid_stream", "openai", _has(b"\r\nzz\r\n")),
    ("cut_chunk", "mid_stream", "openai", lambda p: b"\r\n3e8\r\n" in p.heard.raw and p.heard.ending == "fin"),
    ("bad_utf8", "mid_stream", "ollama", _has(b"\xff\xfe")),
    ("nul_bytes", "mid_stream", "ollama", _has(b'"a\0b"')),
    ("wrong_type", "mid_stream", "openai", _has(b'{"content":5}')),
    ("empty_data", "mid_stream", "openai", _has(b"data: \n\n")),
    ("empty_stream", "before_first_token", "claude", lambda p: p.heard.is_whole and p.heard.body == b""),
    ("end_twice", "at_end", "openai", lambda p: p.heard.body.count(b"[DONE]\n\n") == 2),
    ("more_after_end", "at_end", "ollama", lambda p: p.text == p.answer + " AND MORE AFTER THE END"),
    ("answer_unasked", "at_end", "openai", _is_unasked),
    ("buffered", "before_headers", "openai", _is_one_object),
    ("continue_100", "before_headers", "claude", _interim(b"100 ")),
    ("hints_103", "before_headers", "claude", _interim(b"103 ")),
    ("bom", "before_first_token", "openai", lambda p: p.heard.body.startswith(b"\xef\xbb\xbf")),
    ("crlf", "mid_stream", "openai", lambda p: p.heard.body.count(b"\n") == p.heard.body.count(b"\r\n")),
    ("clean_end", "mid_stream", "ollama", _lacks(b'"done":true')),
    ("no_done", "at_end", "openai", lambda p: REASONS["openai"] in p.heard.body and _lacks(b"\n\ndata: [DONE]")(p)),
    ("no_done", "at_end", "claude", _lacks(b"message_stop")),
    ("no_finish", "at_end", "openai", _lacks(b'"finish_reason":"stop"')),
    ("no_usage", "at_end", "ollama", lambda p: _lacks(b"eval_count")(p) and b'"done":true' in p.heard.body),
    ("no_usage", "at_end", "openai", lambda p: _lacks(b"completion_tokens")(p) and b"[DONE]\n\n" in p.heard.body),
    ("no_line_end", "at_end", "ollama", lambda p: p.heard.is_whole and not p.heard.body.endswith(b"\n")),
    ("tool_cut", "mid_stream", "claude", _has(b'"partial_json":"{\\"city\\": \\"Par"')),
    ("comments", "mid_stream", "openai", lambda p: p.heard.body.count(b"\n\n: still here\n\ndata: ") > 3),
    (
        "error_then_done",
        "mid_stream",
        "openai",
        lambda p: b'"error"' in p.heard.body and p.heard.body.endswith(b"[DONE]\n\n"),
    ),
    (
        "error_overloaded",
        "mid_stream",
        "claude",
        _has(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"'),
    ),
    ("error_quota", "mid_stream", "ollama", _has(b"usage limit")),
    ("thinking", "before_first_token", "claude", _has(b"thinking_delta")),
    ("long_line", "mid_stream", "openai", lambda p: max(map(len, p.heard.body.split(b"\n"))) >= QUICK.bomb),
    ("deep_json", "mid_stream", "openai", _has(b"[" * 100_000)),
    ("long_number", "mid_stream", "ollama", _has(b"9" * 10_000)),
    ("gzip_bomb", "before_headers", "openai", lambda p: gzip.decompress(p.heard.body).count(b"\n") == QUICK.bomb),
    (
        "endless_error",
        "before_headers",
        "openai",
        lambda p: p.heard.raw.startswith(b"HTTP/1.1 500") and len(p.heard.raw) > QUICK.bomb,
    ),
    ("huge_chunk", "mid_stream", "openai", _has(b"\r\nffffffffffffff0\r\n")),
]


@pytest.mark.parametrize(
    ("kind", "moment", "wire", "check"), TABLE, ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in TABLE]
)
def test_the_bytes_are_what_the_kind_says(kind: str, moment: Moment, wire: Wire, check: _Check) -> None:
    played = play(kind, moment, wire)
    assert check(played), played.heard.raw[:2000]
