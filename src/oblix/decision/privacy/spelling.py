"""How a model may write a placeholder that it was given, and which text could be the beginning of one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Spelling:
    r"""The writings of all placeholders of a request.

    With brackets: letters of either case, `<EMAIL_1>`, `&lt;EMAIL_1&gt;` (HTML) or `\<EMAIL\_1\>` (Markdown), up to two blanks inside of
    the brackets. Without brackets: in capitals, as a word of its own, and neither called nor set: `API_KEY_1 = …` is a variable of
    the answer's own.

    Attributes:
        stems: `EMAIL_`, `CARD_`, …: what comes before the number.
        digits: The most that a number has.
        in_json: The text is JSON: a backslash is written as two, and a bracket maybe by its number.
    """

    stems: tuple[str, ...]
    digits: int
    in_json: bool = False

    @property
    def whole(self) -> re.Pattern[str]:
        """Finds placeholders in a text that is whole."""
        return _patterns(self)[0]

    @property
    def streamed(self) -> re.Pattern[str]:
        """Finds placeholders in a text that goes on; the group `begun` is an end of it that may become one."""
        return _patterns(self)[1]


def name_of(found: re.Match[str]) -> str:
    """The placeholder that was found, as we wrote it, without its brackets."""
    return (found["tagged"] or found["escaped"] or found["bare"]).replace("\\", "").upper()


class _Form(NamedTuple):
    """A pattern, and that of its beginnings which a text can end with.

    `re` knows no partial match, but has one in disguise: each sign that must come may also be the end of the text.
    """

    whole: str
    begun: str


def _signs(text: str) -> _Form:
    signs = [re.escape(sign) for sign in text]
    return _Form("".join(signs), "".join(rf"(?:{sign}|\Z)" for sign in signs))


def _maybe(form: _Form) -> _Form:
    return _Form(f"(?:{form.whole})?", f"(?:{form.begun})?")


def _either(*forms: _Form) -> _Form:
    return _Form(f"(?:{'|'.join(form.whole for form in forms)})", f"(?:{'|'.join(form.begun for form in forms)})")


def _all(*forms: _Form) -> _Form:
    return _Form("".join(form.whole for form in forms), "".join(form.begun for form in forms))


_BLANKS = _Form("[ ]{0,2}", "[ ]{0,2}")


@lru_cache(maxsize=64)  # compiling takes milliseconds, and most requests hold the same few kinds
def _patterns(spelling: Spelling) -> tuple[re.Pattern[str], re.Pattern[str]]:
    slash = r"\\" if spelling.in_json else "\\"
    name = _name(spelling, slash)
    opened, shut = [_signs("<"), _signs("&lt;")], [_all(_maybe(_signs(slash)), _signs(">")), _signs("&gt;")]
    if spelling.in_json:
        number = _signs(r"\u003c")
        opened.append(_Form(rf"(?<!\\){number.whole}", rf"(?<!\\){number.begun}"))
        shut.append(_signs(r"\u003e"))
    tagged = _all(_either(*opened), _BLANKS, _group("tagged", name), _BLANKS, _either(*shut))
    # A backslash before the first bracket alone may be the end of a Windows path.
    escaped = _all(_signs(f"{slash}<"), _BLANKS, _group("escaped", name), _BLANKS, _signs(f"{slash}>"))
    bare = rf"(?<![\w$]){_group('bare', name).whole}"
    whole = f"(?i:{tagged.whole}|{escaped.whole})|{bare}"
    begun = rf"(?!\Z)(?:(?i:{tagged.begun}|{escaped.begun})|(?<![\w$]){name.begun}[ ]?)\Z"
    return (  # in ASCII, because a placeholder in Chinese prose stands between letters
        re.compile(rf"{whole}(?![\w(]|[ ]?=)", re.ASCII),
        re.compile(rf"{whole}(?=[^\w(= ]|[ ][^=])|(?P<begun>{begun})", re.ASCII),
    )


def _name(spelling: Spelling, slash: str) -> _Form:
    underscore = _all(_maybe(_signs(slash)), _signs("_"))
    stems = [_all(*(underscore if sign == "_" else _signs(sign) for sign in stem)) for stem in spelling.stems]
    more = f"[0-9]{{0,{spelling.digits - 1}}}"
    return _all(_either(*stems), _Form(f"[0-9]{more}", rf"(?:[0-9]|\Z){more}"))


def _group(name: str, form: _Form) -> _Form:
    return _Form(f"(?P<{name}>{form.whole})", form.begun)
