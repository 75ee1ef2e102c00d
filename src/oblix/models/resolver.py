"""Name look-up on daemon threads: a resolver that hangs must delay neither the loop nor the exit of the program."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from aiohttp.abc import AbstractResolver, ResolveResult

from oblix.models.address import is_home_address, is_localhost


class Resolver(AbstractResolver):
    """Looks names up with the system's resolver.

    Args:
        home_only: An answer outside of the home networks is refused.
        around: Entered for as long as a name is looked up.
    """

    def __init__(self, *, home_only: bool, around: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._home_only = home_only
        self._around = around

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`.

        Raises:
            OSError: The look-up failed, or (with `home_only`) led away from home.
        """
        if is_localhost(host):
            return [_result(host, address, port) for address in ("127.0.0.1", "::1")]
        with self._around():
            found = await _look_up(host, port, family)
        if self._home_only:
            found = [result for result in found if is_home_address(result["host"])]
            if not found:
                raise NotAtHome(host)
        return found

    async def close(self) -> None:
        """Nothing is held open."""


class NotAtHome(OSError):
    """A name that should stand for a machine at home has an address elsewhere."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


async def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[ResolveResult]] = loop.create_future()

    def settle(found: list[ResolveResult] | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def work() -> None:
        found: list[ResolveResult] | OSError
        try:
            rows = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            found = [_result(host, str(row[4][0]), port) for row in rows]
        except (OSError, UnicodeError) as error:
            found = (
                error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, f"{host!r} is no host name")
            )
        try:
            loop.call_soon_threadsafe(settle, found)
        except RuntimeError:
            return  # the loop is gone, and with it everyone who waited

    threading.Thread(target=work, name=f"oblix-dns-{host}", daemon=True).start()
    return await answer
