"""A secret, such as an API key: it goes where it was meant to go, and shows nowhere else."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any, ClassVar, NoReturn, SupportsIndex

MASK = "**********"


class SecretStr:
    """A text that shows only to who asks for it by name.

    Whatever prints, logs, formats or inspects it gets `**********`; its length does not show either. It is no `str`, so that JSON refuses
    it, and joining it to another text is an error rather than a leak. Copies are the same object.

    Args:
        origin: Where it comes from, which is no secret: `OPENAI_API_KEY`, the path of a file. Told to users.
    """

    __slots__ = ("__value", "origin")

    __hash__: ClassVar[None]  # type: ignore[assignment]  # a hash could be compared with those of guesses

    def __init__(self, value: str, *, origin: str = "") -> None:
        self.__value = value
        self.origin = origin

    def reveal(self) -> str:
        """The value. Use it in the same expression: a local variable would show in a traceback."""
        return self.__value

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that tell keys apart; a key has too many bits for anybody to find it by them."""
        return sha256(b"oblix key\0" + self.__value.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        """Compared in constant time, and never equal to a bare text."""
        if not isinstance(other, SecretStr):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return f"SecretStr({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __copy__(self) -> SecretStr:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretStr:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """A pickle would carry the value, and a masked one would be a wrong key that nobody notices."""
        raise TypeError("a secret cannot be pickled; let the other process read it where this one did")


class Concealed(str):
    """A text made of a secret that has to be a `str`, because a library sends it: a header. Its `repr` is masked, so that locals are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def __getitem__(self, part: SupportsIndex | slice) -> Concealed:
        """Concealed as well: who shows local variables cuts long texts first (rich, at 80 signs), and a header is longer than that."""
        return Concealed(super().__getitem__(part))
