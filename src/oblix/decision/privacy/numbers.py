"""Cards and national numbers: how each is written, what its digits must prove, and which words have to be near.

A word has to be near where writing and check together still fit too many numbers that mean something else: a check digit mod 10 holds for
one row of digits in ten. The functions get a number without separators, letters as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from oblix.decision.privacy import checksums
from oblix.decision.privacy.patterns import near


def _card(number: str) -> bool:
    """Whether an issuer gives out this prefix in this length, and Luhn holds. Prefixes: ISO/IEC 7812 as the networks publish them, 2026."""
    two, three, four = int(number[:2]), int(number[:3]), int(number[:4])
    size = len(number)
    if number[0] == "4":
        known = size in (13, 16, 19)
    elif 51 <= two <= 55 or 2221 <= four <= 2720 or 2200 <= four <= 2204:  # Mastercard, Mir
        known = size == 16
    elif two in (34, 37):  # American Express
        known = size == 15
    elif 300 <= three <= 305 or two in (36, 38, 39):  # Diners
        known = 14 <= size <= 19
    else:  # JCB, Discover, UnionPay, RuPay, Maestro
        known = size >= 16 and (3528 <= four <= 3589 or two in (50, 56, 57, 58, 60, 62, 63, 64, 65, 67, 68, 81))
    return known and checksums.luhn(number)


def _day(year: str, month: str, day: str) -> bool:
    """Whether this can be a day of the calendar; one day too many in February does no harm here."""
    return 1 <= int(month) <= 12 and 1 <= int(day) <= (
        30 if month in ("04", "06", "09", "11") else 29 if month == "02" else 31
    )


def _ssn(number: str) -> bool:
    """The rules of the Social Security Administration: areas 000, 666 and 900 to 999, group 00 and serial 0000 are not given out."""
    return number[:3] not in ("000", "666") and number[0] != "9" and number[3:5] != "00" and number[5:] != "0000"


def _dni(number: str) -> bool:
    return number[0] in "XYZxyz0123456789" and checksums.dni(number.upper())


def _nino(number: str) -> bool:
    """HMRC's rules for the prefix; the last letter is A to D. In capitals only: in small letters it would be any piece of a hash."""
    first, second = number[0], number[1]
    return (
        number.isupper()
        and first not in "DFIQUV"
        and second not in "DFIOQUV"
        and number[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")
        and number[-1] in "ABCD"
    )


def _tax_id(number: str) -> bool:
    """§ 139b AO: no 0 at the front, and of the first ten digits exactly one comes twice or three times."""
    counts = sorted(number.count(digit, 0, 10) for digit in set(number[:10]))
    return number[0] != "0" and counts[-1] in (2, 3) and counts[-2] == 1 and checksums.mod11_10(number)


def _nir(number: str) -> bool:
    """Sex, month (20 and above where it is not known), key."""
    month = int(number[3:5])
    return number[0] in "123478" and (1 <= month <= 12 or month >= 20) and checksums.nir(number)


def _codice_fiscale(code: str) -> bool:
    """Month letter, day (40 more for women), check letter. Codes of namesakes, with letters for digits, are not known here."""
    code = code.upper()
    return code[8] in "ABCDEHLMPRST" and 1 <= int(code[9:11]) % 40 <= 31 and checksums.codice_fiscale(code)


def _pesel(number: str) -> bool:
    """The month tells the century: 20 more for each since 1900, 80 for the one before."""
    return _day(number[:2], f"{int(number[2:4]) % 20:02}", number[4:6]) and checksums.pesel(number)


def _personnummer(number: str) -> bool:
    """Date of birth (60 more on the day for a co-ordination number) and Luhn over the last ten."""
    ten = number[-10:]
    return _day(ten[:2], ten[2:4], f"{int(ten[4:6]) % 60:02}") and checksums.luhn(ten)


def _ahv(number: str) -> bool:
    return number.startswith("756") and checksums.ean(number)


def _aadhaar(number: str) -> bool:
    return number[0] not in "01" and checksums.verhoeff(number)


def _bsn(number: str) -> bool:
    return int(number) > 0 and checksums.eleven(number)


def _nanp(number: str) -> bool:
    """The North American plan: area and exchange begin with 2 to 9, and neither is a service code."""
    ten = number[-10:]
    return (
        ten[0] in "23456789" and ten[3] in "23456789" and ten[1:3] != "11" and (len(number) == 10 or number[0] == "1")
    )


class Row(NamedTuple):
    """One number in some of its writings.

    Attributes:
        writings: `0` is any digit, `a` any letter, the rest stands for itself; at least one digit each.
        valid: Whether the number can be one of its kind.
        near: Words, one of which has to stand within `patterns.NEAR` characters; `None` where the writing and the check say enough.
    """

    kind: str
    writings: tuple[str, ...]
    valid: Callable[[str], bool]
    near: re.Pattern[bytes] | None = None


_CARD = near("card karte carte tarjeta carta visa mastercard maestro amex unionpay pan cc credit debit")
_SSN = near("ssn social tin itin")
_TAX = near(
    "steuer steuernummer steueridentifikationsnummer steuer-id steuerid idnr id-nr tin tax identifikationsnummer"
)
_DNI = near("dni nif nie documento identidad spanish cif")
_BSN = near("bsn burgerservicenummer sofi sofinummer")
_PERSON = near("personnummer personnr pnr samordningsnummer swedish svensk")
ROWS = (
    Row("card", ("0000 0000 0000 0000", "0000-0000-0000-0000", "0000.0000.0000.0000", "0" * 16, "0" * 15, "0" * 14,
                 "0000 000000 00000", "0000-000000-00000", "0000 000000 0000", "0000-000000-0000", "0000 0000 0000 000",
                 "0000 0000 0000 0000 000", "0000-0000-0000-0000-000", "0000 0000 0000 0000 00", "000000 0000000000000",
                 "00000000 00000000"), _card),
    Row("card", ("0" * 13, "0" * 17, "0" * 18, "0" * 19, "0000 000 000 000"), _card, _CARD),
    Row("us_ssn", ("000-00-0000",), _ssn),
    Row("us_ssn", ("000 00 0000", "000.00.0000", "0" * 9), _ssn, _SSN),
    Row("de_tax_id", ("00 000 000 000", "00-000-000-000"), _tax_id),
    Row("de_tax_id", ("0" * 11, "000 0000 0000", "00/000/000/000", "00.000.000.000"), _tax_id, _TAX),
    Row("fr_nir", ("0 00 00 00 000 000 00", "0-00-00-00-000-000-00", "0.00.00.00.000.000.00", "0 00 00 0a 000 000 00", "0" * 15,
                   "0" * 13 + " 00", "000000a00000000", "000000a000000 00"), _nir),
    Row("es_dni", ("00000000a", "00000000-a", "00000000 a", "00.000.000-a", "00.000.000 a", "00.000.000a",
                   "a0000000a", "a-0000000-a", "a-0000000a", "a0000000-a", "a 0000000 a"), _dni, _DNI),
    Row("it_codice_fiscale", ("aaaaaa00a00a000a", "aaa aaa 00a00 a000a", "aaa-aaa-00a00-a000a"), _codice_fiscale),
    Row("uk_nino", ("aa000000a", "aa 00 00 00 a", "aa 000000 a", "aa-00-00-00-a"), _nino),
    Row("nl_bsn", ("0" * 9, "0000.00.000", "0000 00 000", "000 000 000", "000.000.000"), _bsn, _BSN),
    Row("pl_pesel", ("0" * 11,), _pesel, near("pesel")),
    Row("se_personnummer", ("000000-0000", "00000000-0000", "000000+0000", "0" * 10, "0" * 12), _personnummer, _PERSON),
    Row("br_cpf", ("000.000.000-00",), checksums.cpf),
    Row("br_cpf", ("0" * 11, "000 000 000 00", "000000000-00"), checksums.cpf, near("cpf contribuinte")),
    Row("in_aadhaar", ("0000 0000 0000", "0000-0000-0000", "0" * 12), _aadhaar, near("aadhaar aadhar adhaar uidai")),
    Row("ch_ahv", ("000.0000.0000.00", "000 0000 0000 00", "0" * 13), _ahv),
    Row("phone", ("000-000-0000", "0-000-000-0000", "000.000.0000", "0.000.000.0000", "0 000 000 0000"), _nanp),
)  # fmt: skip
