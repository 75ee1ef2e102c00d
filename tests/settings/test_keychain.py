"""Keys that lie on the disk are found at the first prompt: hooking reads nothing, and no prompt waits for a hung keyring without end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oblix import KeyMissing, OblixClient
from oblix.settings import keyfile, load
from oblix.testing.faults import FaultServer, Upstream
from oblix.types.secret import SecretStr

KEY = "sk-" + "test-4Hq8Zw2Lm6"
PRICE = (1.0, 5.0)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.chdir(tmp_path)


def carried(up: Upstream) -> list[str | None]:
    return [asked.headers.get("authorization") for asked in up.requests]


def test_a_kept_key_is_found_at_the_first_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by prompts that come at the same time, and by a model that was hooked before the key was kept."""

    async def main() -> None:
        async with FaultServer() as server, OblixClient(store=":memory:") as client:
            up = server.upstream("cloud", wire="openai")
            monkeypatch.setenv("OPENAI_BASE_URL", up.url)
            await client.hook_model("openai", "played", price=PRICE)
            await asyncio.to_thread(keyfile.put, "openai", SecretStr(KEY))
            await asyncio.gather(*(client.execute("Hello") for _ in range(5)))
            assert carried(up) == [f"Bearer {KEY}"] * 5
            assert client.models["openai:played"].key == "given"

    asyncio.run(main())


def test_a_kept_key_goes_to_no_other_address() -> None:
    """A settings file that came with somebody's project may name any."""

    async def main() -> None:
        async with FaultServer() as server, OblixClient(store=":memory:") as client:
            up = server.upstream("cloud", wire="openai")
            await asyncio.to_thread(keyfile.put, "openai", SecretStr(KEY))
            await client.hook_model("openai", "played", endpoint=up.url, price=PRICE)
            await client.execute("Hello")
            assert carried(up) == [None]

    asyncio.run(main())


@pytest.mark.parametrize(("folder", "sent"), [("project", f"Bearer {KEY}"), (".", None)])
def test_a_found_settings_file_gets_the_key_that_lies_beside_it_and_no_other(
    folder: str, sent: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in the home folder is the user's, as the one in the environment is."""

    async def main() -> None:
        async with FaultServer() as server, OblixClient(store=":memory:") as client:
            up = server.upstream("cloud", wire="claude")
            row = f'id = "claude:played"\nendpoint = "{up.url}"\nprice = [1.0, 5.0]'
            await asyncio.to_thread((tmp_path / "project" / "oblix.toml").write_text, f"[[model]]\n{row}\n")
            client.settle(await asyncio.to_thread(load))
            assert client.models["claude:played"].key == "withheld"
            await client.execute("Hello")
            assert [asked.headers.get("authorization") for asked in up.requests] == [sent]
            if sent is None:
                assert [each["models"] for each in (await client.status())["keys"]] == [[], []]

    (tmp_path / "project").mkdir()
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY + "-mine")
    (tmp_path / folder / ".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n")
    monkeypatch.chdir(tmp_path / "project")
    asyncio.run(main())


def test_a_key_in_a_dotenv_goes_where_one_in_the_environment_goes(tmp_path: Path) -> None:
    async def main() -> None:
        async with FaultServer() as server, OblixClient(store=":memory:") as client:
            up = server.upstream("cloud", wire="claude")
            await client.hook_model("claude", "played", endpoint=up.url, price=PRICE)
            await client.execute("Hello")
            assert carried(up) == [f"Bearer {KEY}"]

    (tmp_path / ".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n")
    asyncio.run(main())


def test_a_key_that_is_nowhere_is_missing() -> None:
    async def main() -> None:
        async with OblixClient(store=":memory:") as client:
            await client.hook_model("openai", "played", price=PRICE)
            with pytest.raises(KeyMissing):
                await client.execute("Hello")

    asyncio.run(main())
