"""What must not be found at the cloud's side: the words of a prompt, in every form in which they may travel."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote

SECRET = "Geheimnis-"  # every secret begins so


def secret_of(number: int) -> str:
    """Words that occur in one prompt and nowhere else; not all of them ASCII, so that escaping shows."""
    return f"{SECRET}{number:06d}-für-niemanden"


def forms(secret: str) -> Iterator[bytes]:
    """The bytes of a secret: as it is, escaped as in JSON and in addresses, in hexadecimal, in base64 at each of its three offsets."""
    raw = secret.encode()
    yield raw
    yield json.dumps(secret)[1:-1].encode()
    yield quote(secret).encode()
    yield raw.hex().encode()
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + raw)
        # The first characters hold the bytes before, the last ones what would follow.
        yield whole[4 if offset else 0 : -4].rstrip(b"=")


def leaked(secret: str, received: bytes) -> int:
    """How many of the received bytes are the secret's."""
    return sum(received.count(form) * len(form) for form in set(forms(secret)))
