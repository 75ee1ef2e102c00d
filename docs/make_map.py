"""Writes docs/map.md from the first sentence of each module; `--check` only tells whether it is up to date."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAP = ROOT / "docs" / "map.md"
HEAD = "# Map\n\nEvery module in one sentence, taken from its docstring by `python docs/make_map.py`.\n"


def render() -> str:
    """The page."""
    lines, room = [HEAD], None
    for path in sorted((ROOT / "src" / "oblix").rglob("*.py")):
        module = path.relative_to(ROOT / "src").with_suffix("")
        here = ".".join(module.parts[: min(2, len(module.parts) - 1)])
        if here != room:
            room = here
            lines.append(f"\n## {room}\n")
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or sys.exit(f"{path} has no docstring")
        name = ".".join(module.parts).removesuffix(".__init__")
        lines.append(f"- `{name}`: {' '.join(docstring.split(chr(10) * 2)[0].split())}\n")
    return "".join(lines)


def main() -> int:
    """Write, or check."""
    text = render()
    if "--check" not in sys.argv:
        MAP.write_text(text, "utf-8")
        return 0
    if MAP.exists() and MAP.read_text("utf-8") == text:
        return 0
    sys.stderr.write("docs/map.md is out of date: run `make map`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
