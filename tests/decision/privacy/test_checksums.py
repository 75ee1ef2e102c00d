"""Each check against published numbers, and against the errors that it promises to catch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.privacy import checksums

PUBLISHED: tuple[tuple[Callable[[str], bool], str], ...] = (
    (checksums.luhn, "4111111111111111"),
    (checksums.luhn, "79927398713"),
    (checksums.luhn, "8112189876"),
    (checksums.mod97, "GB29NWBK60161331926819"),
    (checksums.mod97, "DE89370400440532013000"),
    (checksums.mod97, "MT84MALT011000012345MTLCAST001S"),
    (checksums.mod11_10, "86095742719"),
    (checksums.verhoeff, "2363"),
    (checksums.verhoeff, "234123412346"),
    (checksums.ean, "7569217076985"),
    (checksums.ean, "4006381333931"),
    (checksums.nir, "255081416802538"),
    (checksums.dni, "12345678Z"),
    (checksums.dni, "X1234567L"),
    (checksums.codice_fiscale, "RSSMRA85T10A562S"),
    (checksums.eleven, "111222333"),
    (checksums.pesel, "44051401359"),
    (checksums.cpf, "52998224725"),
)
# Catch every single wrong digit; the others let some of them pass (10 and 0 share a check digit, or weights share a factor with 10).
STRICT = (
    checksums.luhn,
    checksums.mod97,
    checksums.mod11_10,
    checksums.verhoeff,
    checksums.ean,
    checksums.dni,
    checksums.eleven,
)


@pytest.mark.parametrize(
    ("check", "number"), PUBLISHED, ids=[f"{check.__name__}-{number}" for check, number in PUBLISHED]
)
def test_a_published_number_passes_and_each_other_last_place_fails(check: Callable[[str], bool], number: str) -> None:
    assert check(number)
    places = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if number[-1].isalpha() else "0123456789"
    assert [place for place in places if check(number[:-1] + place)] == [number[-1]]


@pytest.mark.parametrize("check", STRICT, ids=lambda check: check.__name__)
@given(data=st.data())
def test_one_wrong_digit_is_caught(check: Callable[[str], bool], data: st.DataObject) -> None:
    number = data.draw(st.sampled_from([number for known, number in PUBLISHED if known is check]))
    place = data.draw(st.sampled_from([place for place, char in enumerate(number) if char.isdigit()]))
    digit = data.draw(st.sampled_from("0123456789").filter(lambda digit: digit != number[place]))
    assert not check(number[:place] + digit + number[place + 1 :])


@given(st.text("0123456789", min_size=2, max_size=20), st.data())
def test_verhoeff_catches_swapped_neighbours(body: str, data: st.DataObject) -> None:
    number = next(full for digit in "0123456789" if checksums.verhoeff(full := body + digit))
    place = data.draw(st.integers(0, len(number) - 2))
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    assert checksums.verhoeff(swapped) == (swapped == number)


def test_corsicans_have_a_number_too() -> None:
    """2A counts as 19, 2B as 18: https://fr.wikipedia.org/wiki/Numéro_de_sécurité_sociale_en_France"""
    for department, digits in (("2A", "19"), ("2B", "18")):
        key = 97 - int(f"18505{digits}006084") % 97
        assert checksums.nir(f"18505{department}006084{key:02}")
        assert not checksums.nir(f"18505{department}006084{key % 97 + 1:02}")


def test_eleven_equal_digits_are_nobodys_cpf() -> None:
    assert not any(checksums.cpf(digit * 11) for digit in "0123456789")
