"""Policy files: any valid one reads to the policy that it describes; any other is one clear error with the right line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from oblix.decision.policy import PRESETS, Policy, Rule, When
from oblix.errors import ConfigurationError, InvalidRequest
from oblix.settings import find_policy, read_policy
from oblix.settings.lines import lines

from .writing import Written, written

ONE_FOLDER = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policies") / "office.toml"


def save(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def refusal(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as wrong:
        read_policy(path)
    return wrong.value


@ONE_FOLDER
@given(written())
def test_a_file_reads_to_the_policy_that_it_describes(office: Path, file: Written) -> None:
    assert read_policy(save(office, file.text)) == file.policy


@ONE_FOLDER
@given(written(), st.data())
def test_one_wrong_character_in_a_key_is_told_with_its_line(office: Path, file: Written, data: st.DataObject) -> None:
    """Whatever it makes of the key: another one, a piece of syntax, nothing."""
    assume(file.spots)
    line, column, length = data.draw(st.sampled_from(file.spots))
    at = column + data.draw(st.integers(0, length - 1))
    rows = file.text.split("\n")
    sign = data.draw(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_categories=["Cc"]) | st.just(""))
    assume(sign != rows[line - 1][at])
    assume(sign != "#" or rows[line - 1][:at].strip())  # that makes a comment of the line, which is right
    rows[line - 1] = rows[line - 1][:at] + sign + rows[line - 1][at + 1 :]
    assert f"office.toml, line {line}" in refusal(save(office, "\n".join(rows))).message.split(": ")[0] + ","


@ONE_FOLDER
@given(written())
def test_every_value_has_a_line(file: Written) -> None:
    """The locator sees the same document as tomllib does."""
    text = file.text.replace("\r\n", "\n")
    found = lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    rows = text.split("\n")
    for path, line in found.items():
        key = path[-1]
        if isinstance(key, str) and key.isascii() and key.isidentifier() and "agents" not in path:
            assert key in rows[line - 1]


def paths(value: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield (*way, key)
        yield from paths(each, (*way, key))


@ONE_FOLDER
@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_one_error(office: Path, found: bytes) -> None:
    office.write_bytes(found)
    check_either(office)


@ONE_FOLDER
@given(written(), st.data())
def test_any_damage_is_a_policy_or_one_error(office: Path, file: Written, data: st.DataObject) -> None:
    """Pieces of a file cut out, doubled and put elsewhere: what is right syntax more often than random bytes."""
    text = file.text
    for _ in range(data.draw(st.integers(1, 3))):
        start, end, to = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 3)))
        text = data.draw(st.sampled_from([text[:start] + text[end:], text[:end] + text[start:to] + text[end:]]))
        text += data.draw(st.sampled_from(["", "\n[[rule]]", "\nname = {a.b = 1}", "\nlike = 0x" + "f" * 40]))
    check_either(save(office, text))


def check_either(path: Path) -> None:
    try:
        found: Policy | ConfigurationError = read_policy(path)
    except ConfigurationError as error:
        found = error
    assert isinstance(found, Policy) or (str(path) in found.message and found.hint)


GOOD = """
name = "office"
like = "cheapest"
bridges_to_cloud = false

[weights]
price = 2

[[rule]]
name = "code stays here"
when = { tags = ["code"], complexity_below = 0.6, agents = { resource_monitor = "available" } }
only = "edge"

[[rule]]
name = "contracts"
when.words = [
  " Contract ",
  "NDA",
]
to = ["claude:opus", "cloud"]

[[rule]]
name = "the rest"
use = "best"
"""


def test_a_full_file(office: Path) -> None:
    assert read_policy(save(office, GOOD)) == replace(
        PRESETS["cheapest"],
        name="office",
        price=2.0,
        bridges_to_cloud=False,
        rules=(
            Rule(
                "code stays here",
                When(tags=("code",), complexity_below=0.6, agents=(("resource_monitor", "available"),)),
                only=("edge",),
            ),
            Rule("contracts", When(words=("contract", "nda")), to=("claude:opus", "cloud")),
            Rule("the rest", When(), use="best"),
        ),
    )


def test_an_empty_file_is_balanced_by_the_name_of_its_file(office: Path) -> None:
    assert read_policy(save(office, "")) == replace(PRESETS["balanced"], name="office")
    assert read_policy(save(office, "\ufeff# a byte-order mark\nlike = 'best'")).always_top


MISTAKES = [
    # what is written, what stands there instead, the line, what is said, the hint
    ("complexity_below", "complexity_belov", 11, "'complexity_belov' is no condition of a rule.", "Did you mean 'complexity_below'?"),
    ("complexity_below", "complexity", 11, "'complexity' is no condition", "Did you mean 'complexity_"),
    ("like", "liek", 3, "'liek' is no key of a policy.", "Did you mean 'like'?"),
    ("[weights]", "[weigths]", 6, "'weigths' is no key of a policy.", "Did you mean 'weights'?"),
    ("price", "prize", 7, "'prize' is no weight.", "Did you mean 'price'?"),
    ("price", "always_top", 7, "'always_top' is no weight.", "top of a policy file"),
    ("like", "price", 3, "'price' is no key of a policy.", "below [weights]"),
    ("like", "only", 3, "'only' is no key of a policy.", "below [[rule]]"),
    ("use", "tags", 24, "'tags' is no key of a rule.", "when = { tags = … }"),
    ("use", "uze", 24, "'uze' is no key of a rule.", "Did you mean 'use'?"),
    ("false", "'no'", 4, "'bridges_to_cloud' is 'no', not true or false.", "bridges_to_cloud = true"),
    ('"office"', "5", 2, "'name' is 5, not a line of text.", "name = "),
    ('"office"', '"""of\nfice"""', 2, "'name' is 'of\\nfice', not a line of text.", "name = "),
    ("price = 2", "price = -1", 7, "'price' is -1, not a number from 0 to 20.", "price = 2.0"),
    ("price = 2", "price = 1001.0", 7, "'price' is 1001.0", "price = 2.0"),
    ("price = 2", "price = nan", 7, "'price' is nan", "price = 2.0"),
    ("price = 2", "price = inf", 7, "'price' is inf", "price = 2.0"),
    ("price = 2", "price = true", 7, "'price' is true", "price = 2.0"),
    ("price = 2", "price = [2]", 7, "'price' is [2]", "price = 2.0"),
    ("price = 2", "price = 2021-02-03", 7, "'price' is 2021-02-03", "price = 2.0"),
    ("price = 2", "price = 0x" + "f" * 5000, 7, "'price' is a huge number", "price = 2.0"),
    ("[weights]\nprice = 2", "weights = 5", 6, "'weights' is 5, not a table.", "[weights]"),
    ("0.6", "1.5", 11, "'complexity_below' is 1.5, not a number from 0 to 1.", "complexity_below = 0.6"),
    ("0.6", "0.6, complexity_above = 0.6", 11, "No prompt has complexity above 0.6 and below 0.6.", "exclusive"),
    ("0.6", "0.6, tokens_above = 9, tokens_below = 10", 11, "No prompt has tokens above 9 and below 10.", "exclusive"),
    ("0.6", "0.6, tokens_above = 1.5", 11, "'tokens_above' is 1.5, not a whole number", "tokens_above = 4000"),
    ("0.6", "0.6, tokens_above = -1", 11, "'tokens_above' is -1", "of at least 0|tokens_above = 4000"),
    ("0.6", "0.6, private = 1", 11, "'private' is 1, not true or false.", "private = true"),
    ("0.6", "0.6, needs = ['eyes']", 11, "'eyes' is no capability of a model.", "Known: tools, vision, json"),
    ("0.6", "0.6, found = 'emial'", 11, "'emial' is no kind of private thing.", "Did you mean 'email'?"),
    ('["code"]', "[]", 11, "'tags' is an empty list.", 'tags = ["code"]'),
    ('["code"]', "[5]", 11, "'tags' holds 5, not a line of text.", 'tags = ["code"]'),
    ('"NDA"', "'  '", 18, "'words' holds '  ', not a line of text.", "words = "),
    ('"available"', "5", 11, "'resource_monitor' is 5, not a line of text.", "resource_monitor = "),
    ('{ resource_monitor = "available" }', "{}", 11, "'agents' is an empty table.", "agents = "),
    ('resource_monitor = "available"', '"" = "x"', 11, "An agent has no name.", "agents = "),
    ('{ resource_monitor = "available" }', '"available"', 11, "'agents' is 'available', not a table.", "agents = "),
    ('"edge"', '"local"', 12, "'local' in 'only' is neither a place nor a model.", "provider:name"),
    ('"edge"', '":phi"', 12, "':phi' in 'only'", "provider:name"),
    ('"claude:opus"', '"claude:"', 20, "'claude:' in 'to'", "provider:name"),
    ('only = "edge"', 'only = "edge"\nto = "cloud"', 12, "The rule 'code stays here' has to and only.", "exactly one of: to, only"),
    ('only = "edge"', "", 9, "The rule 'code stays here' has nothing to do.", "exactly one of: to, only"),
    ('only = "edge"', "private = false", 12, "no rule makes a request public", "private = true"),
    ('only = "edge"', "private = 'yes'", 12, "'private' is 'yes'", "private = true"),
    ('"contracts"', '"code stays here"', 15, "two rules of the name 'code stays here'", "its own"),
    ('name = "contracts"', "", 14, "A rule has no name.", "name = "),
    ('"best"', '"bset"', 24, "'bset' is no policy whose weights to use.", "Did you mean 'best'?"),
    ('"cheapest"', '"cheapset"', 3, "'cheapset' is no policy to start from.", "Did you mean 'cheapest'?"),
    ("like", "rule = 5 #", 3, "", ""),
    ("price = 2", "price 2", 7, "Expected '=' after a key", "TOML"),
    ("price = 2", "price = 2021-02-30", 7, "Invalid date", "TOML"),
    ('use = "best"\n', 'use = """best', 24, "Unterminated string", "TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "said", "hint"), MISTAKES)
def test_a_mistake_is_told_with_line_and_key(office: Path, old: str, new: str, line: int, said: str, hint: str) -> None:
    assert old in GOOD
    error = refusal(save(office, GOOD.replace(old, new, 1)))
    if said:
        assert error.message.startswith(f"{office}, line {line}")
    assert said in error.message
    assert any(part in str(error.hint) for part in hint.split("|"))
    assert len(str(error)) < 500 + len(str(office))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (b"name = 'a'\nlike = '\xff'", "line 2: byte 0xff is not UTF-8"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"a = " + b"1" * 5000, "too long to be read"),
        (b"#" * (1 << 20) + b"#", "too large for a policy file"),
        (b".".join([b"name", *[b"a"] * 3000]) + b" = 1", "line 1: 'name' is a table"),
        (b"rule = ['x']", "line 1: [[rule]] is ['x'], not a list of tables."),
        (b"[rule]\nname = 'x'", "line 1: [[rule]] is a table, not a list of tables."),
    ],
    ids=["not UTF-8", "nested", "long number", "large", "dotted", "list", "one bracket"],
)
def test_what_cannot_be_a_policy(office: Path, found: bytes, said: str) -> None:
    office.write_bytes(found)
    assert said in refusal(office).message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    save(tmp_path / "office.toml", "")
    near = refusal(tmp_path / "ofice.toml")
    assert "does not exist" in near.message
    assert "Did you mean 'office.toml'?" in str(near.hint)
    assert "nor does its folder" in refusal(tmp_path / "gone" / "office.toml").message
    assert "does not exist" in refusal(tmp_path / "office.toml" / "office.toml").message
    assert "does not exist" in refusal(Path("a\0b.toml")).message
    assert "does not exist" in refusal(Path("~nobody-of-this-name/a.toml")).message


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe would be waited for; the last is an error of the file system itself."""
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "round.toml").symlink_to("round.toml")
    assert "is a directory" in refusal(tmp_path).message
    assert "is no regular file" in refusal(tmp_path / "pipe.toml").message
    assert "cannot be read" in refusal(tmp_path / "round.toml").message
    assert "cannot be read" in refusal(tmp_path / ("x" * 300)).message


def test_policies_by_name(tmp_path: Path) -> None:
    office = save(tmp_path / "office.toml", GOOD)
    assert find_policy("best") is PRESETS["best"]
    assert find_policy(str(office)) == find_policy(f"file:{office}") == read_policy(office)
    plain = save(tmp_path / "plain", "like = 'best'")
    assert find_policy(f"file:{plain}").name == "plain"
    with pytest.raises(InvalidRequest, match="Did you mean 'best'"):
        find_policy("bset")
    with pytest.raises(ConfigurationError, match="does not exist"):
        find_policy(str(tmp_path / "gone.toml"))


def test_a_file_is_read_again_when_it_changes_and_only_then(tmp_path: Path) -> None:
    office = save(tmp_path / "office.toml", "like = 'best'")
    first = find_policy(str(office))
    assert find_policy(str(office)) is first
    other = save(tmp_path / "other", "like = 'fast'")  # as large
    os.utime(other, ns=(0, office.stat().st_mtime_ns))  # and as old
    other.replace(office)
    with pytest.raises(ConfigurationError, match="'fast' is no policy"):
        find_policy(str(office))
    save(office, "like = 'fastest'")
    assert find_policy(str(office)).speed == PRESETS["fastest"].speed


def test_a_relative_path_is_another_file_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("best", "cheapest"):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "own.toml", f"like = '{folder}'")
    for folder in ("best", "cheapest", "best"):
        monkeypatch.chdir(tmp_path / folder)
        assert find_policy("own.toml") == replace(PRESETS[folder], name="own")


def test_many_files_are_not_kept_for_ever(tmp_path: Path) -> None:
    from oblix.settings import policies

    for number in range(100):
        assert find_policy(str(save(tmp_path / f"p{number}.toml", ""))).name == f"p{number}"
    assert len(policies._read) <= 64
