"""What an answer must show at its end to count as whole. Pure."""

from __future__ import annotations

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.types.chunk import End


def whole(end: End, model_id: str) -> End:
    """`end`, if its tool calls are whole.

    Raises:
        AttemptFailed: Kind `protocol`: a tool call's arguments are no JSON object. Half a call is worse than none: it may be carried out.
    """
    for call in end.tool_calls:
        try:
            found = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if not isinstance(found, dict) or not call.name:
            said = f"the call of the tool {call.name!r} by {model_id} is not whole ({len(call.arguments):,} characters of arguments)"
            failed = AttemptFailed(FailureKind.PROTOCOL, said)
            failed.is_told_by_peer = True  # a model may write the prompt even as the name
            raise failed
    return end
