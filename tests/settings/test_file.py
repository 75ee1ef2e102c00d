"""`oblix.toml`: where it is looked for, what it says, and one clear error with the line for what it must not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.decision.policy import PRESETS, Rule, When
from oblix.decision.policy_table import private_kinds
from oblix.errors import ConfigurationError
from oblix.settings import Settings, load
from oblix.types.privacy import Screening

FULL = """
[route]
policy = "cheapest"

[privacy]
pii = "redact"
kinds = ["email", "card"]
names = ["Ada Lovelace", "Project Falcon"]
log_prompts = true

[weights]
price = 9

[[rule]]
name = "code stays here"
when = { tags = ["code"] }
only = "edge"

[[model]]
id = "ollama:llama3"
tier = 1
timeouts = { first_token = 20 }
prefill = true

[[model]]
id = "openai:gpt-4"
endpoint = "https://api.openai.com/v1"
place = "cloud"
window = 8192
price = [30.0, 60.0]

[[model]]
id = "openai:other"
price = { input_per_mtok = 3, output_per_mtok = 15.0, tiers = [{ above = 200000, input_per_mtok = 6, output_per_mtok = 20 }] }
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "oblix.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def line_with(text: str) -> int:
    """Where it stands in the full file."""
    return FULL[: FULL.index(text)].count("\n") + 1


def refusal(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as wrong:
        load(path)
    return wrong.value


def test_a_full_file(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    found = load(path)
    assert found.source == path
    rule = Rule("code stays here", When(tags=("code",)), only=("edge",))
    assert found.policy == replace(PRESETS["cheapest"], name="cheapest + oblix.toml", price=9.0, rules=(rule,))
    assert [model["id"] for model in found.models] == ["ollama:llama3", "openai:gpt-4", "openai:other"]
    price = {"input_per_mtok": 30.0, "output_per_mtok": 60.0, "source": f"oblix.toml, line {line_with('price = [')}"}
    assert found.models[1]["price"] == price
    assert found.models[2]["price"]["source"] == f"oblix.toml, line {line_with('price = {')}"
    names = ("Ada Lovelace", "Project Falcon")
    assert found.screening == Screening(mode="redact", kinds=frozenset({"email", "card"}), names=names)
    assert found.log_prompts
    assert load(str(path)) == found


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "[route]\n", "model = []\n", "[privacy]\nlog_prompts = false", "[weights]"]
)
def test_a_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert load(path) == Settings(path)


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, then `OBLIX_CONFIG`, then the folder, then the user's configuration folder, then none."""
    for name in ("here", "named", "variable", "config/oblix"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert load() == Settings()
    write(tmp_path / "config" / "oblix", '[route]\npolicy = "best"\n')
    assert load().policy == PRESETS["best"]
    write(tmp_path / "here", '[route]\npolicy = "cheapest"\n')
    assert load().policy == PRESETS["cheapest"]
    monkeypatch.setenv("OBLIX_CONFIG", str(write(tmp_path / "variable", '[route]\npolicy = "fastest"\n')))
    assert load().policy == PRESETS["fastest"]
    assert load(write(tmp_path / "named", '[route]\npolicy = "private"\n')).policy == PRESETS["private"]


def test_a_file_that_was_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not exist" in refusal(tmp_path / "gone.toml").message
    assert "is a directory" in refusal(tmp_path).message
    monkeypatch.setenv("OBLIX_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigurationError, match=r"gone\.toml"):
        load()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "oblix.toml").symlink_to("oblix.toml")
    assert "cannot be read" in refusal(tmp_path / "oblix.toml").message


OFFICE = """
like = "best"
[[rule]]
name = "the file's own"
to = "cloud"
"""
RULE = "\n[[rule]]\nname = 'mine'\nonly = 'edge'\n"


def test_a_policy_file_is_found_beside_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program was started."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "office.toml").write_text(OFFICE, "utf-8")
    monkeypatch.chdir("/")
    for name in ("policies/office.toml", "file:policies/office.toml", str(tmp_path / "policies" / "office.toml")):
        found = load(write(tmp_path, f"[route]\npolicy = '{name}'")).policy
        assert found is not None
        assert (found.name, found.always_top, [rule.name for rule in found.rules]) == (
            "office",
            True,
            ["the file's own"],
        )


def test_rules_and_weights_of_the_settings_file_come_first(tmp_path: Path) -> None:
    (tmp_path / "office.toml").write_text(OFFICE, "utf-8")
    found = load(write(tmp_path, f"weights.stay = 0\nroute.policy = 'office.toml'{RULE}")).policy
    assert found is not None
    assert (found.name, found.stay, found.always_top) == ("office + oblix.toml", 0.0, True)
    assert [rule.name for rule in found.rules] == ["mine", "the file's own"]


def test_rules_without_a_policy_are_put_on_the_usual_one(tmp_path: Path) -> None:
    found = load(write(tmp_path, RULE)).policy
    assert found == replace(
        PRESETS["balanced"], name="balanced + oblix.toml", rules=(Rule("mine", When(), only=("edge",)),)
    )


def test_a_mistake_in_the_policy_file_is_told_with_that_file(tmp_path: Path) -> None:
    (tmp_path / "office.toml").write_text("lik = 'best'", "utf-8")
    path = write(tmp_path, "[route]\npolicy = 'office.toml'")
    assert refusal(path).message.startswith(f"{tmp_path / 'office.toml'}, line 1: 'lik'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pii = 'keep-local'", Screening()),
        ("pii = 'keep_local'", Screening()),
        ("pii = 'allow'", Screening(mode="allow")),
        ("pii = 'off'", Screening(is_on=False)),
        ("kinds = 'email'", Screening(kinds=frozenset({"email"}))),
        ("kinds = 'all'", Screening(kinds=frozenset(private_kinds()))),
        ("names = 'Ada'", Screening(names=("Ada",))),
    ],
)
def test_what_the_detectors_look_for(tmp_path: Path, text: str, expected: Screening) -> None:
    assert load(write(tmp_path, f"[privacy]\n{text}")).screening == expected


MODEL = "[[model]]\nid = 'ollama:phi'\n"
MISTAKES: list[tuple[str | bytes, int, str, str]] = [
    ("[route", 1, "Expected ']'", "TOML"),
    (b"\n\xff\xfe", 2, "UTF-8", "UTF-8"),
    ("[rout]\n", 1, "'rout' is no section", "Did you mean 'route'?"),
    ("zzz = 1\n", 1, "'zzz' is no section", "Known: route, model, privacy, weights, rule, budget, sessions."),
    ("policy = 'best'\n", 1, "'policy' is no section", "below [route]"),
    ("pii = 'off'\n", 1, "'pii' is no section", "below [privacy]"),
    ("price = 2\n", 1, "'price' is no section", "below [weights]"),
    ("like = 'best'\n", 1, "'like' is no section", "policy file"),
    ("[route]\npolcy = 'best'\n", 2, "'polcy' is no key of [route]", "Did you mean 'policy'?"),
    ("[route]\npolicy = 5\n", 2, "'policy' is 5", 'policy = "balanced"'),
    ("[route]\npolicy = 'bset'\n", 2, "'bset' is no policy", "Did you mean 'best'?"),
    ("[route]\npolicy = 'gone.toml'\n", 2, "gone.toml' does not exist", "In its folder: oblix.toml"),
    (f"[route]\npolicy = '{'x' * 400}.toml'\n", 2, "does not exist", "In its folder"),
    ("route = 'best'\n", 1, "'route' is 'best', not a table", "[route]"),
    ("route = ''\n", 1, "'route' is ''", "[route]"),
    ("[weights]\nspede = 1\n", 2, "'spede' is no weight", "Did you mean 'speed'?"),
    ("[[rule]]\nname = 'x'\nonyl = 'edge'\n", 3, "'onyl' is no key of a rule", "Did you mean 'only'?"),
    ("[privacy]\npi = 'off'\n", 2, "'pi' is no key of [privacy]", "Did you mean 'pii'?"),
    ("[privacy]\npii = 'keep-locl'\n", 2, "'keep-locl' is no way", "Did you mean 'keep-local'?"),
    ("[privacy]\npii = false\n", 2, "'pii' is false", 'pii = "keep-local"'),
    ("[privacy]\nkinds = []\n", 2, "'kinds' is an empty list", "Leave it out"),
    ("[privacy]\nkinds = [\n'email',\n'emial']\n", 4, "'emial' is no kind", "Did you mean 'email'?"),
    ("[privacy]\nnames = ['']\n", 2, "'names' holds ''", "names = "),
    ("[privacy]\nlog_prompts = 1\n", 2, "'log_prompts' is 1", "log_prompts = true"),
    ("privacy = 1\n", 1, "'privacy' is 1, not a table", "[privacy]"),
    ("model = 'ollama:phi'\n", 1, "[[model]] is 'ollama:phi'", "[[model]]"),
    ("model = 5\n", 1, "[[model]] is 5", "[[model]]"),
    ("model = ['ollama:phi']\n", 1, "[[model]] is ['ollama:phi']", "[[model]]"),
    ("[model]\nid = 'ollama:phi'\n", 1, "[[model]] is a table", "[[model]]"),
    ("\n[[model]]\n", 2, "A [[model]] has no id.", "provider:name"),
    ("[[model]]\nid = 5\n", 2, "'id' is 5", "ollama:llama3"),
    ("[[model]]\nid = 'phi'\n", 2, "'phi' is no id", "provider:name"),
    (MODEL + "teir = 1\n", 3, "'teir' is no key of [[model]]", "Did you mean 'tier'?"),
    (MODEL + "api_key = 'k'\n", 3, "'api_key' is no key of [[model]]", "Known: id"),
    (MODEL + "tier = 0\n", 3, "'tier' is 0, not a whole number of at least 1", "tier = 1"),
    (MODEL + "window = 1e3\n", 3, "'window' is 1000.0, not a whole number", "window = 8192"),
    (MODEL + "place = 'home'\n", 3, "'home' is no place", "Known: edge, cloud"),
    (MODEL + "endpoint = 80\n", 3, "'endpoint' is 80", "http://"),
    (MODEL + "prefill = 1\n", 3, "'prefill' is 1", "prefill = true"),
    (MODEL + "timeouts = 5\n", 3, "'timeouts' is 5, not a table", "first_token"),
    (MODEL + "timeouts = { first = 5 }\n", 3, "'first' is no timeout", "first_token"),
    (MODEL + "timeouts = { idle = 0 }\n", 3, "'idle' is 0", "idle = 20.0"),
    (MODEL + "price = 3\n", 3, "'price' is 3", "price = [3.0, 15.0]"),
    (MODEL + "price = [3]\n", 3, "'price' is [3]", "price = [3.0, 15.0]"),
    (MODEL + "price = [3, -1]\n", 3, "'price' is [3, -1]", "price = [3.0, 15.0]"),
    (MODEL + "price = { input = 3 }\n", 3, "'input' is no part of a price", "input_per_mtok"),
    (MODEL + "price = { input_per_mtok = nan }\n", 3, "'input_per_mtok' is nan", "input_per_mtok = 3.0"),
    (MODEL + "price.tiers = [\n{ abov = 5 }]\n", 4, "'abov' is no part of a tier", "Did you mean 'above'?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said", "hint"), MISTAKES)
def test_a_file_with_a_mistake(tmp_path: Path, text: str | bytes, line: int, said: str, hint: str) -> None:
    """The error names the file and the line, what is wrong, and what would be right."""
    path = write(tmp_path, text)
    error = refusal(path)
    assert error.message.startswith(f"{path}, line {line}")
    assert said in error.message
    assert hint in str(error.hint)


def test_two_rules_of_one_name_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "office.toml").write_text(OFFICE, "utf-8")
    path = write(tmp_path, "route.policy = 'office.toml'\n[[rule]]\nname = \"the file's own\"\nto = 'edge'")
    assert "line 3: There are two rules of the name" in refusal(path).message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_damage_is_settings_or_one_error(tmp_path: Path, data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(FULL)), st.integers(0, len(FULL)))))
    path = write(tmp_path, FULL[:start] + data.draw(st.text(max_size=5) | st.just("")) + FULL[end:])
    try:
        found: Settings | ConfigurationError = load(path)
    except ConfigurationError as error:
        found = error
    assert isinstance(found, Settings) or (str(path) in found.message and found.hint)
