"""For any text: no error, sound spans, the same with every engine; and what is valid is found wherever it stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.privacy import checksums
from oblix.decision.privacy.folding import fold
from oblix.decision.privacy.iban import _STRUCTURES
from oblix.decision.privacy.scan import Names, scan

from .corpus import PRIVATE, PUBLIC, grow, parse
from .test_scan import ENGINES

PROSE = (
    "the",
    "river",
    "was",
    "low,",
    "and",
    "nobody",
    "–",
    "so they said",
    "–",
    "knew why;",
    "Zoë",
    "did.",
    "在村里",
    "(maybe)",
    "ещё",
    "№",
)
WORDS = st.lists(st.sampled_from(PROSE), max_size=12).map(" ".join)
DIGITS, LETTERS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PIECES = [parse(marked)[0] for marked in PRIVATE + PUBLIC] + list("@-+.:/=\"'0123456789 aA\n\u200b\u00a0４王é\ud800")
PIECES += [
    "-----BEGIN PRIVATE KEY-----",
    "eyJ",
    "sk-",
    "password: ",
    "token=",
    "://",
    "DE12",
    "a" * 70,
    "1" * 30,
    "1-" * 20,
]
MIXED = st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=8).map("".join)


@given(MIXED)
def test_spans_are_sound_and_every_engine_finds_the_same(text: str) -> None:
    found = scan(text)
    assert all(0 <= each.start < each.end <= len(text) for each in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    for engine in ENGINES.values():
        assert scan(text, engine=engine) == found


@given(st.text(st.characters(), max_size=200))
def test_any_text_has_an_answer(text: str) -> None:
    names = Names([text, "ada", *text.split()])
    for start, end in [(each.start, each.end) for each in scan(text, names)]:
        assert 0 <= start < end <= len(text)


@given(MIXED)
def test_folding_keeps_a_byte_for_each_character_that_is_seen(text: str) -> None:
    folded = fold(text)
    assert len(folded.raw) == len(folded.text) == len(folded.shape)
    for offset, char in enumerate(folded.text):
        start, end = folded.place(offset, offset + 1)
        assert text[start] == char
        assert end == start + 1


RUNS = [
    "1",
    "@",
    "a",
    "-",
    "1-",
    "a@",
    "00 ",
    "4111 ",
    "(12) ",
    "+1 ",
    "eyJ",
    "sk-",
    "pass=",
    "-----BEGIN ",
    "://",
    "DE12 ",
    "\u200b1",
]


@pytest.mark.parametrize(
    ("piece", "size"), [*((piece, 35_000) for piece in RUNS), *((piece, 1_000_000) for piece in RUNS[:4])]
)
def test_long_runs_of_anything_are_the_same_to_every_engine(piece: str, size: int) -> None:
    text = (piece * (size // len(piece) + 1))[:size]
    first, *others = (scan(text, engine=engine) for engine in ENGINES.values())
    assert all(found == first for found in others)


def _calls(text: str) -> int:
    """How many functions a scan calls, those in C included: patterns tried, numbers checked, findings made."""
    count = 0

    def tally(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tally)
    try:
        scan(text, engine=ENGINES["none"])
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("piece", [*RUNS, *(parse(marked)[0] + "\n" for marked in PRIVATE[::5])])
def test_ten_times_the_text_is_no_more_than_ten_times_the_work(piece: str) -> None:
    """And no kilobyte of anything is more than a few thousand checks."""
    short = piece * (4000 // len(piece) + 1)
    scan(short)  # compiles what is compiled once
    few, many = _calls(short), _calls(short * 10)
    assert many <= 10.5 * few + 200
    assert few / len(short) < 16


def _checked(body: str, check: Callable[[str], bool]) -> str:
    return next(full for digit in DIGITS if check(full := body + digit))


@st.composite
def cards(draw: st.DrawFn) -> str:
    prefix, size = draw(
        st.sampled_from(
            [("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("37", 15), ("36", 14), ("6011", 16), ("62", 16)]
        )
    )
    rest = size - len(prefix) - 1
    return _checked(prefix + draw(st.text(DIGITS, min_size=rest, max_size=rest)), checksums.luhn)


def _grouped(number: str, separator: str) -> str:
    sizes = {14: (4, 6, 4), 15: (4, 6, 5)}.get(len(number), (4,) * (len(number) // 4 + 1))
    groups, at = [], 0
    for size in sizes:
        groups.append(number[at : at + size])
        at += size
    return separator.join(group for group in groups if group)


@st.composite
def ibans(draw: st.DrawFn) -> str:
    country = draw(st.sampled_from(sorted(_STRUCTURES)))
    body = ""
    for size, kind in re.findall(r"(\d+)([nac])", _STRUCTURES[country]):
        alphabet = {"n": DIGITS, "a": LETTERS, "c": LETTERS + DIGITS}[kind]
        body += draw(st.text(alphabet, min_size=int(size), max_size=int(size)))
    return next(full for key in range(2, 99) if checksums.mod97(full := f"{country}{key:02}{body}"))


FULL_WIDTH = str.maketrans(DIGITS, "０１２３４５６７８９")


def written(number: str, separator: str, disguise: str) -> str:
    text = _grouped(number, separator)
    return text.translate(FULL_WIDTH) if disguise == "full-width" else disguise.join(text)


@given(
    cards(),
    st.sampled_from(["", " ", "-", "\u00a0", "\u2011"]),
    st.sampled_from(["", "full-width", "\u200b", "\u2060"]),
    WORDS,
    WORDS,
)
def test_a_valid_card_is_found_in_any_prose_and_writing(
    card: str, separator: str, disguise: str, before: str, after: str
) -> None:
    value = written(card, separator, disguise)
    text = f"{before} {value} {after}"
    assert [text[each.start : each.end] for each in scan(text) if each.kind == "card"] == [value]


@given(cards(), st.sampled_from(["", " ", "-"]), st.data())
def test_a_card_with_one_wrong_digit_is_none(card: str, separator: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(card) - 1))
    digit = data.draw(st.sampled_from(DIGITS).filter(lambda digit: digit != card[place]))
    wrong = _grouped(card[:place] + digit + card[place + 1 :], separator)
    assert "card" not in {each.kind for each in scan(f"it is {wrong}.")}


@given(
    ibans(),
    st.sampled_from(["", " ", "-", "\u00a0", "\u202f"]),
    st.booleans(),
    st.sampled_from(["", "full-width", "\u200b"]),
    WORDS,
    WORDS,
)
def test_a_valid_iban_is_found_in_any_prose_and_writing(
    iban: str, separator: str, small: bool, disguise: str, before: str, after: str
) -> None:
    groups = separator.join(iban[at : at + 4] for at in range(0, len(iban), 4))
    value = groups.lower() if small else groups
    value = value.translate(FULL_WIDTH) if disguise == "full-width" else disguise.join(value)
    text = f"{before} {value} – {after}"
    assert [text[each.start : each.end] for each in scan(text) if each.kind == "iban"] == [value]


@given(ibans(), st.data())
def test_an_iban_with_one_wrong_digit_is_none(iban: str, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([place for place, char in enumerate(iban) if char.isdigit()]))
    digit = data.draw(st.sampled_from(DIGITS).filter(lambda digit: digit != iban[place]))
    assert "iban" not in {each.kind for each in scan(f"it is {iban[:place]}{digit}{iban[place + 1 :]}.")}


class Made(NamedTuple):
    """How a valid number of a kind comes to be."""

    digits: int
    label: str
    make: Callable[[str], str]


def _eleven(body: str) -> str:
    """Some bodies have no check digit of the eleven proof; their last digit then gives way."""
    return next(full for last in DIGITS for digit in DIGITS if checksums.eleven(full := body[:-1] + last + digit))


MADE = {
    "nl_bsn": Made(8, "BSN", _eleven),
    "in_aadhaar": Made(10, "Aadhaar:", lambda body: _checked("7" + body, checksums.verhoeff)),
    "ch_ahv": Made(9, "", lambda body: _checked("756" + body, checksums.ean)),
    "pl_pesel": Made(4, "PESEL", lambda body: _checked("900215" + body, checksums.pesel)),
    "se_personnummer": Made(3, "personnummer", lambda body: _checked("900215" + body, checksums.luhn)),
    "es_dni": Made(8, "DNI", lambda body: next(full for char in LETTERS if checksums.dni(full := body + char))),
    "br_cpf": Made(9, "CPF", lambda body: next(full for key in range(100) if checksums.cpf(full := f"{body}{key:02}"))),
    "fr_nir": Made(
        8, "", lambda body: next(full for key in range(98) if checksums.nir(full := f"18505{body}{key:02}"))
    ),
}


@pytest.mark.parametrize("kind", MADE)
@given(data=st.data())
def test_a_valid_national_number_is_found_beside_its_name(kind: str, data: st.DataObject) -> None:
    size, label, make = MADE[kind]
    body = data.draw(st.text(DIGITS, min_size=size, max_size=size).filter(lambda body: len(set(body)) > 1))
    number = make(body)
    text = f"{data.draw(WORDS)} {label} {number} {data.draw(WORDS)}"
    assert (kind, number) in [(each.kind, text[each.start : each.end]) for each in scan(text)]


@given(st.binary(min_size=16, max_size=32))
def test_a_hash_is_no_secret_without_a_name(value: bytes) -> None:
    assert not {each.kind for each in scan(f"commit {value.hex()} merged")} & {"secret", "password", "api_key"}


@given(st.text(min_size=1).map(lambda seed: grow(40, repr(seed))))
def test_any_generated_secret_is_found_where_it_is_named(value: str) -> None:
    text = f'client_secret: "{value}"'
    turns = sum(one.isdigit() != other.isdigit() for one, other in pairwise(value))
    assert bool(scan(text)) or turns < 3
