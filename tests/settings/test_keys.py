"""Keys: where they are looked for, in which order, and what is refused. Real files, real processes."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import oblix
from oblix.errors import ConfigurationError, InvalidRequest
from oblix.settings import keyfile
from oblix.settings.keys import FoundKey, beside_keys, check, found_keys, near_key
from oblix.types.secret import Concealed, SecretStr

KEY = "sk-" + "test-4Hq8Zw2Lm6"
OTHER = "sk-" + "test-9Rt5Yb1Kc3"
NAMES = ("OPENAI_API_KEY",)


@pytest.fixture(name="here", autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory below a home folder of its own, and a keyring that keeps nothing, should one be installed."""
    folder = tmp_path / "home" / "project" / "part"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.chdir(folder)
    return folder


def found(*, own: bool = True) -> list[FoundKey]:
    return list(found_keys("openai", NAMES, own=own))


# A secret


def test_a_secret_shows_to_nobody_who_does_not_ask_for_it_by_name() -> None:
    secret = SecretStr(KEY, origin="here")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret}",
        repr([secret]),
        repr(Concealed(KEY)),
    ]
    assert not any(KEY in each for each in shown)
    assert all("**********" in each for each in shown)
    assert secret.reveal() == KEY
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    assert f"{Concealed(KEY)}" == KEY  # what is sent is what it is


def test_a_secret_travels_no_further() -> None:
    for refuse in (json.dumps, pickle.dumps, hash, vars):
        with pytest.raises(TypeError) as caught:
            refuse(SecretStr(KEY))
        assert KEY not in str(caught.value)


def test_secrets_are_equal_by_value_and_to_no_text() -> None:
    assert SecretStr(KEY) == SecretStr(KEY, origin="elsewhere")
    assert SecretStr(KEY) != SecretStr(OTHER)
    assert SecretStr(KEY) != KEY
    assert SecretStr(KEY).digest == SecretStr(KEY).digest != SecretStr(OTHER).digest
    assert KEY not in SecretStr(KEY).digest
    assert not SecretStr("")


# The order


def test_the_nearest_place_goes_first(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyfile.put("openai", SecretStr(KEY + "-file"))
    assert [(each.origin, each.key.reveal()) for each in found()] == [("file", KEY + "-file")]
    (here / ".env").write_text(f"OPENAI_API_KEY={KEY}-dotenv\n")
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}-environment\n")
    assert [each.origin for each in found()] == ["environment", ".env", "file"]
    assert [each.key.reveal().rpartition("-")[2] for each in found()] == ["environment", "dotenv", "file"]
    given = near_key(SecretStr(KEY), NAMES)
    assert given is not None
    assert (given.reveal(), given.origin) == (KEY, "the argument api_key")


def test_placeholders_count_as_not_given_everywhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".env").write_text("OPENAI_API_KEY=your_openai_api_key\n")
    monkeypatch.setenv("OPENAI_API_KEY", "<your key>")
    keyfile.put("openai", SecretStr("sk-..."))
    assert near_key(SecretStr("sk-..."), NAMES) is None
    assert found() == []


def test_a_key_that_we_keep_goes_to_its_own_provider_only(here: Path) -> None:
    keyfile.put("openai", SecretStr(KEY))
    assert found(own=False) == []
    (here / ".env").write_text(f"OPENAI_API_KEY={OTHER}\n")
    assert [each.origin for each in found(own=False)] == [".env"]


# .env


def test_the_nearest_dotenv_counts_and_the_search_ends_at_home(here: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={OTHER}\n")
    assert found() == []
    (tmp_path / "home" / ".env").write_text(f'export OPENAI_API_KEY="{KEY}-home"  # mine\n')
    assert found()[0].key.reveal() == f"{KEY}-home"
    (here.parent / ".env").write_text(f"OPENAI_API_KEY='{KEY}-near'\n")
    assert found()[0].key.reveal() == f"{KEY}-near"
    assert str(here.parent / ".env") in found()[0].place
    assert "OPENAI_API_KEY" not in os.environ


def test_nothing_of_ours_writes_to_the_environment() -> None:
    """An address in it counts as the user's own word, and kept keys go there: what a `.env` says must never get there through us."""
    writing = re.compile(r"load_dotenv|putenv|os\.environ(\[[^]]+\] *=[^=]|\.(update|setdefault)\(| *\|=)")
    sources = [file for file in Path(oblix.__file__).parent.rglob("*.py") if "testing" not in file.parts]
    assert len(sources) > 100
    assert [file.name for file in sources if writing.search(file.read_text("utf-8"))] == []


def test_a_dotenv_came_with_the_working_directory_if_it_lies_there(here: Path) -> None:
    """And is no link out of it: a project may bring one that leads to the user's own file."""
    (here / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    assert [each.key.reveal() for each in beside_keys("openai", NAMES)] == [KEY]
    (here / ".env").rename(here.parent / ".env")
    assert list(beside_keys("openai", NAMES)) == []
    (here / ".env").symlink_to("../.env")
    assert list(beside_keys("openai", NAMES)) == []
    assert found()[0].key.reveal() == KEY


def test_a_dotenv_is_read_again_when_it_has_changed(here: Path) -> None:
    (here / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    assert found()[0].key.reveal() == KEY
    (here / ".env").write_text(f"OPENAI_API_KEY={KEY}-longer\n")
    assert found()[0].key.reveal() == f"{KEY}-longer"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"no equals sign", b"", b"=\n", b"OPENAI_API_KEY"])
def test_a_dotenv_of_nonsense_gives_no_key(content: bytes, here: Path) -> None:
    (here / ".env").write_bytes(content)
    assert found() == []


def test_a_dotenv_that_all_may_read_is_told_of_once(
    here: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = here / ".env"
    file.write_text(f"OPENAI_API_KEY={KEY}\n")
    file.chmod(0o600)
    assert found()
    assert caplog.messages == []
    file.chmod(0o644)
    monkeypatch.setattr("oblix.settings.dotenv.is_open", lambda _: True)  # the folders of a test are closed to others
    assert found()
    assert found()
    assert len(caplog.messages) == 1
    assert "chmod 600" in caplog.messages[0]
    assert KEY not in caplog.messages[0]


# keys.toml


def test_the_file_is_for_its_owner_alone() -> None:
    place = keyfile.put("openai", SecretStr(KEY))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    keyfile.put("claude", SecretStr(OTHER))
    assert {name: key.reveal() for name, key in keyfile.read().items()} == {"openai": KEY, "claude": OTHER}
    assert keyfile.remove("openai")
    assert not keyfile.remove("openai")
    assert list(keyfile.read()) == ["claude"]
    assert [each.name for each in place.parent.iterdir() if "keys" in each.name] == ["keys.toml"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(mode: int, caplog: pytest.LogCaptureFixture) -> None:
    place = keyfile.put("openai", SecretStr(KEY))
    place.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}") as caught:
        keyfile.read()
    assert "chmod 600" in str(caught.value)
    assert found() == []
    assert found() == []
    assert len(caplog.messages) == 1  # told once, and nothing breaks


@pytest.mark.parametrize("content", ["openai = 5", "openai = {a = 1}", f'openai = "{KEY}', "\x00", "[[["])
def test_a_broken_file_is_refused_without_a_word_of_it(content: str) -> None:
    place = keyfile.put("claude", SecretStr(OTHER))
    place.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        keyfile.read()
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(ConfigurationError):
        keyfile.put("openai", SecretStr(KEY))  # what cannot be read is not written over
    assert place.read_text() == content


@given(
    others=st.dictionaries(st.text(), st.text(), max_size=4),
    name=st.sampled_from(["openai", "azure.openai", "a b", "", "schlüssel", 'q"\\', "\U0001f511"]),
)
@example(others={"azure.openai": KEY}, name="openai")
@example(others={"\x7f": "\x7f\U0001f511\n"}, name="openai")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_whatever_the_file_holds_is_there_after_another_key_was_kept(others: dict[str, str], name: str) -> None:
    """It may have been written by hand, with names that want quotes."""
    place = keyfile.put("claude", SecretStr(OTHER))
    lines = [f"{key} = {value}" for key, value in ((_toml(key), _toml(value)) for key, value in others.items())]
    place.write_text("\n".join(lines), "utf-8", newline="\n")
    keyfile.put(name, SecretStr(KEY))
    assert {each: key.reveal() for each, key in keyfile.read().items()} == {**others, name: KEY}
    assert keyfile.remove(name)
    assert set(keyfile.read()) == set(others) - {name}


def _toml(text: str) -> str:
    """Every character by its number."""
    return '"' + "".join(f"\\U{ord(sign):08x}" for sign in text) + '"'


@pytest.mark.parametrize(
    "value", ["", " ", "sk-...", "a b", "k" * 4097, "line\nbreak", "schlüssel", "your_openai_api_key"]
)
def test_what_is_no_key_is_not_kept(value: str) -> None:
    with pytest.raises(InvalidRequest):
        check(value)
    assert check(f" {KEY}\n") == SecretStr(KEY)
