"""Telephone numbers: without check digits, so known by their form, and by what stands before them.

They count as contact data, and make nothing private by themselves: a number that looks like one and is none costs little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from oblix.decision.privacy.folding import Folded
from oblix.decision.privacy.patterns import near
from oblix.types.privacy import Finding

# Groups of digits with one joiner between them: bounded, and each character fits one place only.
_GROUPS = rb"[0-9]{0,15}(?:(?:\) ?|[ ./-]\(?)[0-9]{1,12}){0,7}"
_ABROAD = re.compile(rb"\+(?<![0-9A-Za-z+]\+)\(?[1-9]" + _GROUPS)
_DIALLED = re.compile(rb"00(?<![0-9A-Za-z.,+-]00)(?<![0-9][ /]00)[1-9][0-9]{0,2}[ /(]" + _GROUPS)
_TRUNK = re.compile(rb"0(?<![0-9A-Za-z.,:+-]0)(?<![0-9][ /]0)[1-9][0-9]{0,4}[ /.-]" + _GROUPS)
_AREA = re.compile(rb"\((?<![0-9A-Za-z]\()[0-9]{2,5}\)[ -]?" + _GROUPS)
_LABELLED = re.compile(rb"0(?<![0-9a]0)(?:[ ./()-]{0,2}0){6,14}(?![0a])")  # over the shape
_SEVEN = re.compile(rb"0(?:[ ./()-]{0,2}0){6}")  # over the shape
_DIGITS = re.compile(rb"[0-9]+")
_NO_NUMBER = re.compile(
    rb"[0-9]+\.[0-9]+\Z|[0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2}|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{4}"
)
_LABEL = near(
    "tel telefon telephone telefono phone mobile mobil cell handy handynummer fax whatsapp call fon portable "
    "movil telefoonnummer sms t?l?phone t?l m?vil tel?fono"  # the text is folded: letters beyond ASCII are question marks
)
_STEMS = (
    b"tel",
    b"t?l",
    b"fon",
    b"phone",
    b"mobil",
    b"m?vil",
    b"cell",
    b"handy",
    b"fax",
    b"whatsapp",
    b"call",
    b"portable",
    b"movil",
    b"sms",
)
_OTHER_LABEL = near(
    "order invoice isbn issn ref reference version ticket tracking serial part sku ean id vat bestellnummer "
    "rechnung rechnungsnummer iban build lot"
)
_BEFORE = 24  # characters between a label and its number: "phone number of the office: "

SIGN = rb"\+\(?[1-9]|00[1-9]|0[1-9][0-9]{0,4}[ /.-]|\([0-9]{2,5}\)|[0-9](?:[ ./()-]{0,2}[0-9]){6}"


def has_start(text: Folded) -> bool:
    """Whether a telephone number could be there."""
    return b"+" in text.raw or b"(" in text.raw or _SEVEN.search(text.shape) is not None


def find(text: Folded) -> Iterator[Finding]:
    """Numbers in international form, in a national form that shows itself, or with a word such as `tel` before them."""
    for pattern, fits in _FORMS:
        for found in pattern.finditer(text.raw):
            end = _end(text.raw, found, fits)
            if end and not _OTHER_LABEL.search(text.lower, max(0, found.start() - _BEFORE), found.start()):
                yield Finding("phone", found.start(), end)
    if not _LABELLED.search(text.shape) or not any(stem in text.lower for stem in _STEMS):
        return  # prose has few digits; a log is full of them, and has no telephone
    for found in _LABELLED.finditer(text.shape):
        start, end = found.span()
        if _LABEL.search(text.lower, max(0, start - _BEFORE), start) and not _NO_NUMBER.match(text.raw[start:end]):
            yield Finding("phone", start, end)


def _end(raw: bytes, found: re.Match[bytes], fits: Callable[[Sequence[bytes]], bool]) -> int | None:
    """Where the number ends: with the last group that leaves it a number; what follows may be a date or a price."""
    groups = list(_DIGITS.finditer(raw, *found.span()))
    for count in range(len(groups), 0, -1):
        end = groups[count - 1].end()
        after = raw[end : end + 2]
        goes_on = (
            after[:1].isalnum()
            or (after[:1] in (b".", b",", b":", b"-") and after[1:].isdigit())
            or after[:1] in (b"%", b"_")
        )
        if not goes_on and fits([group.group() for group in groups[:count]]):
            return end
    return None


def _is_abroad(groups: Sequence[bytes]) -> bool:
    """E.164: up to 15 digits; with country code 1 exactly eleven, by the rules of the North American plan."""
    number = b"".join(groups).removeprefix(b"00")
    if number[:1] == b"1":
        return len(number) == 11 and number[1] > ord("1") and number[4] > ord("1")
    return (8 if len(groups) > 1 else 9) <= len(number) <= 15 and len(groups[-1]) > 1


def _is_trunk(groups: Sequence[bytes]) -> bool:
    """After the 0 of long-distance calls: 030 1234567, 0171/123 45 67, 01 23 45 67 89; not a date, a row of numbers, an IPv4 address."""
    sizes = [len(group) for group in groups]
    if (
        not 9 <= sum(sizes) <= 12
        or len(sizes) < 2
        or sizes[-1] < 2
        or sizes in ([5, 4], [3, 3, 3, 3])
        or sizes[:3] == [2, 2, 4]
    ):
        return False
    if sizes[:3] == [2, 2, 2]:
        steps = {int(after) - int(before) for before, after in pairwise(groups)}
        return sizes == [2] * 5 and len(steps) > 1
    return True


def _is_area(groups: Sequence[bytes]) -> bool:
    """An area in brackets, and a number; a year in brackets is a citation's."""
    return 9 <= len(b"".join(groups)) <= 12 and groups[0][:2] not in (b"19", b"20") and len(groups) > 1


_FORMS = ((_ABROAD, _is_abroad), (_DIALLED, _is_abroad), (_TRUNK, _is_trunk), (_AREA, _is_area))
