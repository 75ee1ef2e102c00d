"""The locator: on which line of a TOML text a value stands, in every way in which TOML writes them."""

from __future__ import annotations

import tomllib

import pytest

from oblix.decision.section import KeyPath
from oblix.settings.lines import line_of, lines

TEXT = (
    r"""# [weights] in a comment
name = "a" # name = "b"
"quoted key" = 1
'it"""
    r'''s' = 1979-05-27 07:32:00
"\u0061\"b" = """
[no.table]
a = 1 \""" still text """""
x.y . "z" = [ # a comment with ]
  1, '[', { a = ']', b.c = [2, 3] },

  """
  ]
  """, [
    4]
]

[ a . b ]
last = 07:32:00 # and so on
[[rule]]
name = 'one'
[rule.when]
tags = [
  "code"
  ,
  "text"
]
[[rule.when.deep]]
[[rule.when.deep]]
k = {}
[[rule]]
when = { tags = "x", agents = { "r m" = ["a"] }, words = [
  "here", '''
    """'''
not
here''', "there"] }
[a]
late = true"""
)
EXPECTED: dict[KeyPath, int] = {
    ("name",): 2,
    ("quoted key",): 3,
    ("its",): 4,
    ('a"b',): 5,
    ("x",): 8,
    ("x", "y"): 8,
    ("x", "y", "z"): 8,
    ("x", "y", "z", 0): 9,
    ("x", "y", "z", 1): 9,
    ("x", "y", "z", 2): 9,
    ("x", "y", "z", 2, "a"): 9,
    ("x", "y", "z", 2, "b"): 9,
    ("x", "y", "z", 2, "b", "c"): 9,
    ("x", "y", "z", 2, "b", "c", 0): 9,
    ("x", "y", "z", 2, "b", "c", 1): 9,
    ("x", "y", "z", 3): 11,
    ("x", "y", "z", 4): 13,
    ("x", "y", "z", 4, 0): 14,
    ("a",): 36,
    ("a", "b"): 17,
    ("a", "b", "last"): 18,
    ("rule",): 19,
    ("rule", 0): 19,
    ("rule", 0, "name"): 20,
    ("rule", 0, "when"): 21,
    ("rule", 0, "when", "tags"): 22,
    ("rule", 0, "when", "tags", 0): 23,
    ("rule", 0, "when", "tags", 1): 25,
    ("rule", 0, "when", "deep"): 27,
    ("rule", 0, "when", "deep", 0): 27,
    ("rule", 0, "when", "deep", 1): 28,
    ("rule", 0, "when", "deep", 1, "k"): 29,
    ("rule", 1): 30,
    ("rule", 1, "when"): 31,
    ("rule", 1, "when", "tags"): 31,
    ("rule", 1, "when", "agents"): 31,
    ("rule", 1, "when", "agents", "r m"): 31,
    ("rule", 1, "when", "agents", "r m", 0): 31,
    ("rule", 1, "when", "words"): 31,
    ("rule", 1, "when", "words", 0): 32,
    ("rule", 1, "when", "words", 1): 32,
    ("rule", 1, "when", "words", 2): 34,
    ("a", "late"): 36,
}


def test_every_way_of_writing() -> None:
    assert tomllib.loads(TEXT)["rule"][1]["when"]["words"][2] == "there"
    assert lines(TEXT) == {**EXPECTED, ("a",): 35}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("rule", 0, "when", "tags", 1), 25),
        (("rule", 0, "only"), 19),
        (("rule", 1, "when", "words", 9), 31),
        (("a", "b", "none"), 17),
        (("none", "none"), 1),
        ((), 1),
    ],
)
def test_what_is_not_there_stands_where_its_table_does(path: KeyPath, line: int) -> None:
    assert line_of(TEXT, path) == line


def test_as_deep_as_tomllib_goes() -> None:
    """Where the stack ends, what was seen until then is told."""
    text = "a = 1\nb = " + "[" * 3000 + "]" * 3000
    assert line_of(text, ("b", 0, 0)) == 2
    assert line_of(text, ("a",)) == 1
