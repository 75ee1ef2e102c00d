"""The table of what can be found, and of who looks for it when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from oblix.decision.privacy import assignments, credentials, emails, iban, layouts, phones
from oblix.decision.privacy.folding import Folded
from oblix.decision.privacy.numbers import ROWS
from oblix.types.privacy import Finding

Group = Literal["secret", "financial", "identity", "name", "contact"]


class Kind(NamedTuple):
    """Something private that a text can hold, with the words that people use for one and for several of it."""

    name: str
    singular: str
    plural: str
    group: Group


# In the order in which one goes before another where they overlap.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("pem", "private key", "private keys", "secret"),
        Kind("jwt", "JSON web token", "JSON web tokens", "secret"),
        Kind("api_key", "API key", "API keys", "secret"),
        Kind("password", "password", "passwords", "secret"),
        Kind("secret", "secret", "secrets", "secret"),
        Kind("iban", "bank account", "bank accounts", "financial"),
        Kind("card", "card number", "card numbers", "financial"),
        Kind("us_ssn", "US social security number", "US social security numbers", "identity"),
        Kind("uk_nino", "UK national insurance number", "UK national insurance numbers", "identity"),
        Kind("de_tax_id", "German tax id", "German tax ids", "identity"),
        Kind("fr_nir", "French social security number", "French social security numbers", "identity"),
        Kind("es_dni", "Spanish identity number", "Spanish identity numbers", "identity"),
        Kind("it_codice_fiscale", "Italian tax code", "Italian tax codes", "identity"),
        Kind("nl_bsn", "Dutch citizen number", "Dutch citizen numbers", "identity"),
        Kind("pl_pesel", "Polish identity number", "Polish identity numbers", "identity"),
        Kind("se_personnummer", "Swedish personal number", "Swedish personal numbers", "identity"),
        Kind("br_cpf", "Brazilian taxpayer number", "Brazilian taxpayer numbers", "identity"),
        Kind("in_aadhaar", "Aadhaar number", "Aadhaar numbers", "identity"),
        Kind("ch_ahv", "Swiss AHV number", "Swiss AHV numbers", "identity"),
        Kind("name", "name from your list", "names from your list", "name"),
        Kind("email", "e-mail address", "e-mail addresses", "contact"),
        Kind("phone", "telephone number", "telephone numbers", "contact"),
    )
}
EVERY = frozenset(KINDS)
# What counts as private unless the user says otherwise: it has a check digit or a form of its own, or the user named it.
SENSITIVE = frozenset(kind.name for kind in KINDS.values() if kind.group != "contact")


class Detector(NamedTuple):
    """Who looks for some kinds.

    Attributes:
        sign: A regular expression that matches some part of each text in which `find` finds something; written in what `re` and RE2 share.
        may_find: The same question, answered by string search; `False` only where `find` finds nothing.
        find: Each place; the work per character is bounded, whatever the text is.
    """

    kinds: frozenset[str]
    sign: bytes
    may_find: Callable[[Folded], bool]
    find: Callable[[Folded], Iterator[Finding]]


_NUMBERS = frozenset(row.kind for row in ROWS)
DETECTORS = (
    Detector(frozenset({"pem"}), credentials.PEM_SIGN, credentials.has_pem, credentials.find_pems),
    Detector(frozenset({"jwt"}), credentials.JWT_SIGN, credentials.has_long_word, credentials.find_jwts),
    Detector(frozenset({"api_key"}), credentials.KEY_SIGN, credentials.has_long_word, credentials.find_keys),
    Detector(frozenset({"password", "secret"}), assignments.SIGN, assignments.has_name, assignments.find),
    Detector(frozenset({"password"}), assignments.URL_SIGN, assignments.has_url, assignments.find_in_urls),
    Detector(_NUMBERS, layouts.SIGN, layouts.has_start, layouts.find),
    Detector(frozenset({"iban"}), iban.SIGN, iban.has_start, iban.find),
    Detector(frozenset({"email"}), emails.SIGN, emails.has_start, emails.find),
    Detector(frozenset({"phone"}), phones.SIGN, phones.has_start, phones.find),
)
