"""Messages in the one internal form that every dialect is read into and written from."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image: either base64 `data` with its `media_type`, or a `url`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool; `arguments` is JSON text, exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


Part = Text | Image


@dataclass(frozen=True, slots=True)
class Thought:
    """A block of a model's thinking, as its provider wants it back in the same conversation; no other provider gets it.

    Attributes:
        body: The block as the provider gave it, signature and all.
        model: The name of the model that thought it; no other gets it back.
        behind: A digest of what stood before it. Some providers take it back behind the same words only; empty where that does not matter.
    """

    provider: str
    body: dict[str, Any]
    _: KW_ONLY
    model: str = ""
    behind: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `content` is plain text or parts; `tool_call_id` names what a `tool` message answers.

    Attributes:
        private: A label that travels with the message: a request that holds it never leaves the edge.
        thoughts: What its model thought before it spoke, where the provider gave that in blocks.
        pinned: It is kept where others are cut, because a conversation does not fit a window.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    private: bool = False
    thoughts: tuple[Thought, ...] = ()
    pinned: bool = False

    @property
    def text(self) -> str:
        """The text of all parts, joined by line breaks."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, Text))

    @property
    def images(self) -> tuple[Image, ...]:
        """The images, in order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, Image))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask to have called; `parameters` is its JSON Schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What shape the answer must have: any JSON object, or JSON that fits `schema`."""

    kind: Literal["json_object", "json_schema"]
    schema: dict[str, Any] | None = None
    name: str = "answer"
