"""`keys.toml`: keys in a file that only its owner can read, for machines without a keyring."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from tempfile import mkstemp

from oblix.errors import ConfigurationError
from oblix.types.secret import Concealed, SecretStr

LARGEST = 1 << 20  # bytes; a key has about a hundred
_HEAD = "# Keys by provider. Written by `oblix keys set`; only you can read this file.\n"


def path() -> Path:
    """Where it lies: in the user's configuration folder, or in `OBLIX_HOME`."""
    moved = os.environ.get("OBLIX_HOME")
    if moved:
        return Path(os.path.expanduser(moved)) / "keys.toml"  # noqa: PTH111  see settings.document.expanded
    from platformdirs import user_config_path

    return user_config_path("oblix", appauthor=False) / "keys.toml"


def read() -> dict[str, SecretStr]:
    """The keys by provider; none where there is no file.

    Raises:
        ConfigurationError: Others may read the file, or it cannot be read, or is none of ours. Its words are never quoted.
    """
    file = path()
    try:
        with file.open("rb") as opened:
            state = os.fstat(opened.fileno())
            _refuse(file, state)
            keys = _parse(str(file), opened.read(LARGEST + 1))
    except FileNotFoundError:
        return {}
    except OSError as error:
        hint = "Check the path, and who may read it."
        raise ConfigurationError(f"{file} cannot be read: {in_words(error)}.", hint=hint) from None
    if keys is None:
        said = f'{file} is not as it was written: lines of provider = "key".'
        raise ConfigurationError(said, hint="Mend it or remove it.")
    return keys


def _refuse(file: Path, state: os.stat_result) -> None:
    if not S_ISREG(state.st_mode) or state.st_size > LARGEST:
        raise ConfigurationError(f"{file} is no file of keys.", hint="Move it away.")
    if os.name == "nt":  # its permissions are lists, which the mode does not tell
        return
    if state.st_mode & 0o077:
        said = f"{file} may be read by others (mode {state.st_mode & 0o777:04o}), so that no key is taken from it."
        raise ConfigurationError(said, hint=f"chmod 600 {file}, and renew keys that others may have seen.")
    if state.st_uid not in (os.geteuid(), 0):
        said = f"{file} belongs to another user (uid {state.st_uid}), so that no key is taken from it."
        raise ConfigurationError(said, hint="Take it over with chown, or move it away.")


def _parse(place: str, found: bytes) -> dict[str, SecretStr] | None:
    """`None` where it is none of ours. Nothing is raised here: a traceback would show the file among its local variables."""
    try:
        values = tomllib.loads(found.decode())
        if all(isinstance(value, str) for value in values.values()):
            return {name: SecretStr(value, origin=place) for name, value in values.items()}
    except (ValueError, RecursionError):  # its message may quote a key
        pass
    return None


def put(provider: str, key: SecretStr) -> Path:
    """Keep a key, in place of the one before. Gives the file.

    Raises:
        ConfigurationError: The file cannot be written, or others may read it.
    """
    with _changing() as keys:
        keys[provider] = key
    return path()


def remove(provider: str) -> bool:
    """Forget a key. Gives whether there was one.

    Raises:
        ConfigurationError: The file cannot be written, or others may read it.
    """
    if provider not in read():
        return False
    with _changing() as keys:
        keys.pop(provider, None)
    return True


@contextmanager
def _changing() -> Iterator[dict[str, SecretStr]]:
    """Read, change, replace: one process at a time, and the file is the old one or the new one, whenever the power fails."""
    file = path().resolve()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(file.parent):
            keys = read()
            yield keys
            _replace(file, keys)
    except OSError as error:
        said = f"{file} cannot be written: {in_words(error)}."
        raise ConfigurationError(said, hint="Check the folder, and who may write there.") from None


def _replace(file: Path, keys: Mapping[str, SecretStr]) -> None:
    handle, name = mkstemp(prefix=".keys-", dir=file.parent)  # 0600 from its first moment
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(_HEAD)
            for provider in sorted(keys):
                opened.write(f"{_quoted(SecretStr(provider))} = {_quoted(keys[provider])}\n")
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(name, file)  # noqa: PTH105  mkstemp gives a text
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


def _quoted(text: SecretStr) -> Concealed:
    """As a TOML string, which is a JSON string but for two things: it has no halves of characters, and no bare DEL."""
    return Concealed(json.dumps(text.reveal(), ensure_ascii=False).replace("\x7f", "\\u007f"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Whoever else changes the file waits. Where the system has no such lock, the last one wins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)  # the new name is on the disk, too
    finally:
        os.close(handle)


def in_words(error: OSError | UnicodeDecodeError) -> str:
    """What went wrong, without a piece of the file."""
    return "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or type(error).__name__
