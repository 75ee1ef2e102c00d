"""`oblix route`: where a prompt would run; nothing is sent and nothing is written down."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from .running import remember, run

KEY = {"OPENAI_API_KEY": "sk-" + "0123456789abcdef"}
TWO = '[[model]]\nid = "ollama:phi"\nwindow = 4096\n[[model]]\nid = "openai:gpt-4o-mini"\nprice = [0.15, 0.6]\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "oblix.toml").write_text(TWO)
    return tmp_path


def test_it_is_told_like_a_decision_and_leaves_no_trace(home: Path) -> None:
    told = run(home, "route", "--simulate", "cpu=95,latency=20,battery=9", "What is it?", **KEY)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(
        "openai:gpt-4o-mini (cloud) was chosen: resource_monitor: CPU 95 % (limit 90 %) (simulated), "
    )
    assert "Nothing was sent, and nothing was written" in told.stdout
    assert "power\tlow\tsparing energy\tbattery 9 %, not charging (simulated)\n" in told.stdout
    assert "it would have stayed on ollama:phi." in told.stdout
    assert [file.name for file in home.iterdir()] == ["oblix.toml"]


@pytest.mark.parametrize(
    ("args", "chosen", "state"),
    [
        (("--simulate", "cpu=5,offline"), "ollama:phi", "disconnected"),
        (("--simulate", "cpu=5,degraded"), "ollama:phi", "degraded"),
        (("--simulate", "cpu=5,latency=20", "--policy", "best"), "openai:gpt-4o-mini", "optimal"),
        (("--simulate", "cpu=5,latency=20", "-m", "openai:gpt-4o-mini"), "openai:gpt-4o-mini", "optimal"),
        (("--simulate", "cpu=99,latency=20", "--private"), "ollama:phi", "optimal"),
        (("--simulate", "cpu=99,latency=20,budget=0"), "ollama:phi", "optimal"),
        (("--simulate", "cpu=99,latency=20", "--max-cost", "0"), "ollama:phi", "optimal"),
        (("--simulate", "cpu=5,latency=20", "--policy", "mail.toml", "--tag", "mail"), "openai:gpt-4o-mini", "optimal"),
    ],
    ids=["offline", "degraded", "policy", "model", "private", "budget", "limit", "file and tag"],
)
def test_what_is_simulated_is_what_is_decided_on(home: Path, args: tuple[str, ...], chosen: str, state: str) -> None:
    (home / "mail.toml").write_text('[[rule]]\nname = "mail"\nwhen = { tags = ["mail"] }\nto = "cloud"\n')
    told = run(home, "route", "--json", *args, "What is it?", **KEY)
    assert (told.returncode, told.stderr) == (0, "")
    record = json.loads(told.stdout)
    assert record["chosen"] == chosen
    assert record["checks"]["connectivity_monitor"]["state"] == state
    assert all(flip["model"] != chosen for flip in record["flips"])


def test_where_no_route_is_allowed_the_record_is_printed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "oblix.toml").write_text('[[model]]\nid = "openai:gpt-4o-mini"\n')
    told = run(tmp_path, "route", "--private", "--simulate", "offline", "hello", **KEY)
    assert (told.returncode, told.stderr) == (3, "")
    assert told.stdout.startswith("No model could be asked: private prompts stay at home")
    assert "Had it not been private, it would have gone to openai:gpt-4o-mini." in told.stdout


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--simulate", "offlin", "hi"), "'offline'"),
        (("--simulate", "cpu=lots", "hi"), "cpu=lots"),
        (("--policy", "chepest", "hi"), "'cheapest'"),
        ((), "empty"),
    ],
)
def test_what_cannot_be_is_a_clear_error(home: Path, args: tuple[str, ...], word: str) -> None:
    told = run(home, "route", *args)
    assert (told.returncode, told.stdout) == (2, "")
    assert word in told.stderr


def test_no_model_is_asked(home: Path) -> None:
    """A server that only counts stands where Ollama and the cloud would."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"

        def listen() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    caller.settimeout(5)
                    seen.append(caller.recv(65536))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        (home / "oblix.toml").write_text(
            f'[[model]]\nid = "ollama:phi"\nendpoint = "{address}"\n[[model]]\nid = "openai:gpt"\nendpoint = "{address}/v1"\n'
        )
        told = run(home, "route", "What is the xyzzy?", **KEY)
        assert told.returncode == 0, told.stderr
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert b"xyzzy" not in b"".join(seen)
    # A look of the sensor at most: at a plain HTTP endpoint it asks for the head of `/`, which tells a captive portal.
    assert all(said == b"" or said.startswith(b"HEAD / HTTP/1.1\r\n") for said in seen)
    assert b"authorization" not in b"".join(seen).lower()


def test_the_log_is_read_for_what_it_teaches_but_not_written(home: Path) -> None:
    remember(home, {"prompt": "one"})
    before = (home / "oblix" / "oblix.db").read_bytes()
    assert run(home, "route", "--simulate", "offline", "hello").returncode == 0
    assert (home / "oblix" / "oblix.db").read_bytes() == before
