"""Whether the connection is metered, from what systems were recorded to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from oblix.agents.probes.metered import _ASK_WINDOWS, is_metered
from oblix.agents.probes.system import System


def saying(folder: Path, command: str, text: str | None, platform: str) -> System:
    if text is not None:
        (folder / "commands").mkdir()
        (folder / "commands" / f"{command}.txt").write_text(text)
    return System(folder, platform)


@pytest.mark.parametrize(
    ("text", "metered"),
    [
        ("yes", True),
        ("yes (guessed)", True),
        ("no", False),
        ("no (guessed)", False),
        ("unknown", None),
        ("", None),
        (None, None),  # no NetworkManager here
    ],
)
def test_network_manager_is_believed(tmp_path: Path, text: str | None, metered: bool | None) -> None:
    system = saying(tmp_path, "nmcli_-g_GENERAL.METERED_device_show_wlan0", text, "linux")
    assert is_metered("wlan0", system) is metered
    assert is_metered(None, system) is None


@pytest.mark.parametrize(
    ("text", "metered"), [("Unrestricted", False), ("Fixed", True), ("Variable", True), ("Unknown", None), (None, None)]
)
def test_windows_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, metered: bool | None
) -> None:
    system = System(tmp_path, "win32")
    asked: list[tuple[str, ...]] = []

    def output(*command: str, within: float = 2.0) -> str | None:
        asked.append(command)
        return text

    monkeypatch.setattr(system, "output", output)  # the command is too long for the name of a recorded file
    assert is_metered("Wi-Fi", system) is metered
    assert asked == [("powershell", "-NoProfile", "-Command", _ASK_WINDOWS)]


def test_a_mac_has_no_documented_way_to_ask(tmp_path: Path) -> None:
    assert is_metered("en0", System(tmp_path, "darwin")) is None
