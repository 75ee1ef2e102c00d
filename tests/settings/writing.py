"""Policy files, drawn at random: what they mean, how they are written, and on which line each key stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from hypothesis import strategies as st

from oblix.decision.policy import PRESETS, SWITCHES, WEIGHTS, Policy, Rule, When
from oblix.decision.policy_table import private_kinds
from oblix.types.spec import Capability

Draw = Callable[[st.SearchStrategy[Any]], Any]

# Everything that a line of text may hold, and often what means something to TOML.
TEXTS = st.text(
    st.sampled_from("#\"'\\[]{}=.,:ab é語\U0001f600\u00a0")
    | st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029«"),
    max_size=12,
).map(lambda text: text.strip() or "x")
PHRASES = TEXTS.map(lambda text: text.lower().strip() or "x").filter(lambda text: text == text.lower().strip())
PARTS = TEXTS.map(lambda text: text.replace(":", "-"))
TARGETS = st.sampled_from(["edge", "cloud"]) | st.builds("{}:{}".format, PARTS, TEXTS)
AGENTS = st.dictionaries(TEXTS | st.just("resource_monitor"), st.lists(TEXTS, min_size=1, max_size=3), max_size=3)


def several(each: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(each, max_size=3).map(tuple)


@st.composite
def limits(draw: Draw, *, whole: bool) -> tuple[Any, Any]:
    """Above and below, either or none; something lies between them."""
    if whole:
        above, gap = draw(st.none() | st.integers(0, 10**6)), draw(st.none() | st.integers(2, 10**6))
        return above, None if gap is None else (above or 0) + gap
    low, high = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True)))
    return draw(st.none() | st.just(low)), draw(st.none() | st.just(high))


@st.composite
def whens(draw: Draw) -> When:
    score, tokens = draw(limits(whole=False)), draw(limits(whole=True))
    return When(
        tags=draw(several(TEXTS)),
        words=draw(several(PHRASES)),
        needs=draw(several(st.sampled_from(get_args(Capability)))),
        found=draw(several(st.sampled_from([*private_kinds(), "any"]))),
        private=draw(st.none() | st.booleans()),
        complexity_above=score[0],
        complexity_below=score[1],
        tokens_above=tokens[0],
        tokens_below=tokens[1],
        agents=tuple((name, state) for name, states in draw(AGENTS).items() for state in states),
    )


WISHES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"to": st.lists(TARGETS, min_size=1, max_size=3).map(tuple)}),
    st.fixed_dictionaries({"only": st.lists(TARGETS, min_size=1, max_size=3).map(tuple)}),
    st.just({"private": True}),
    st.fixed_dictionaries({"use": st.sampled_from(list(PRESETS))}),
    st.fixed_dictionaries({"refuse": TEXTS}),
)
NUMBERS = st.floats(0, 20) | st.integers(0, 20)
RULES = st.builds(lambda name, when, wish: Rule(name, when, **wish), TEXTS, whens(), WISHES)


@dataclass
class Sheet:
    """A file that is being written. `spots` are the keys that must be right: line (1-based), column (0-based), length."""

    rows: list[str] = field(default_factory=list)
    spots: list[tuple[int, int, int]] = field(default_factory=list)

    def put(self, text: str) -> None:
        """Add to the last row; keys that must be right stand between « and »."""
        for number, row in enumerate(text.split("\n")):
            if number or not self.rows:
                self.rows.append("")
            for part in re.split(r"(«[a-z_]+»)", row):
                if part.startswith("«"):
                    self.spots.append((len(self.rows), len(self.rows[-1]), len(part) - 2))
                self.rows[-1] += part.strip("«»") if part.startswith("«") else part

    def row(self, text: str) -> None:
        self.put(("\n" if self.rows else "") + text)


@dataclass(frozen=True)
class Written:
    policy: Policy
    text: str
    spots: tuple[tuple[int, int, int], ...]


def quoted(draw: Draw, text: str) -> str:
    """A text as TOML, in one of its ways."""
    escaped = "".join(f"\\U{ord(sign):08x}" for sign in text)
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    ways = [f'"{plain}"', f'"{escaped}"', f'"""{plain}"""']
    if "'" not in text:
        ways.append(f"'{text}'")
    return str(draw(st.sampled_from(ways)))


def value(draw: Draw, given: Any) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, str):
        return quoted(draw, given)
    if isinstance(given, tuple):
        if len(given) == 1 and draw(st.booleans()):
            return value(draw, given[0])
        comma = draw(st.sampled_from([", ", ",", " ,\n  # ] and so on\n  "]))
        return f"[{comma.join(value(draw, each) for each in given)}]"
    return repr(given)


def conditions(draw: Draw, when: When) -> dict[str, str]:
    """Each condition that is given, as TOML."""
    found: dict[str, str] = {}
    for each in fields(When):
        given = getattr(when, each.name)
        if given is None or given == ():
            continue
        if each.name != "agents":
            found[each.name] = value(draw, given)
            continue
        states: dict[str, tuple[str, ...]] = {}
        for name, state in given:
            states[name] = (*states.get(name, ()), state)
        pairs = [
            f"{quoted(draw, name).replace(3 * chr(34), chr(34))} = {value(draw, said)}" for name, said in states.items()
        ]
        found["agents"] = f"{{ {', '.join(pairs)} }}"
    order = draw(st.permutations(list(found)))
    return {key: found[key] for key in order}


def write_rule(draw: Draw, sheet: Sheet, rule: Rule) -> None:
    wish = next(key for key in ("to", "only", "private", "use", "refuse") if getattr(rule, key))
    lines = [f"«name» = {quoted(draw, rule.name)}", f"«{wish}» = {value(draw, getattr(rule, wish))}"]
    asked = conditions(draw, rule.when)
    style = draw(st.sampled_from(["inline", "dotted", "table"]))
    if asked and style == "inline":
        lines.append(f"«when» = {{ {', '.join(f'«{key}» = {said}' for key, said in asked.items())} }}")
    elif style == "dotted":
        lines += [f"«when».«{key}» = {said}" for key, said in asked.items()]
    sheet.row("[[«rule»]]" if style != "table" else "[[rule]]")
    for line in draw(st.permutations(lines)):
        sheet.row(draw(st.sampled_from(["", "  "])) + line)
        if draw(st.booleans()):
            sheet.put(" # [[rule]] = ' \"")
    if style == "table":
        sheet.row("[ rule . when ]")
        for key, said in asked.items():
            sheet.row(f"«{key}» = {said}")


@st.composite
def written(draw: Draw) -> Written:
    """A policy and a file that describes it."""
    like = draw(st.sampled_from([None, *PRESETS]))
    name = draw(st.none() | TEXTS)
    switches: Mapping[str, bool] = draw(st.dictionaries(st.sampled_from(SWITCHES), st.booleans()))
    weights: Mapping[str, Any] = draw(st.dictionaries(st.sampled_from(WEIGHTS), NUMBERS))
    rules = draw(st.lists(RULES, max_size=3, unique_by=lambda rule: rule.name))
    known: dict[str, Any] = {
        "rules": tuple(rules),
        "name": name or "office",
        **switches,
        **{key: float(weights[key]) for key in weights},
    }
    top = [f"«{key}» = {value(draw, given)}" for key, given in switches.items()]
    top += [f"«like» = {quoted(draw, like)}"] if like else []
    top += [f"«name» = {quoted(draw, name)}"] if name else []
    style = draw(st.sampled_from(["above", "below", "dotted"]))
    top += [f"«weights».«{key}» = {given!r}" for key, given in weights.items() if style == "dotted"]
    sheet = Sheet()
    for line in draw(st.permutations(top)):
        sheet.row(line)
        if draw(st.booleans()):
            sheet.row("")
    table = [f"«{key}» = {given!r}" for key, given in weights.items()]
    for place in ("above", "below"):
        if place == style and table:
            sheet.row("[«weights»]")
            for line in table:
                sheet.row(line)
        if place == "above":
            for rule in rules:
                write_rule(draw, sheet, rule)
    ends = draw(st.sampled_from(["\n", "\r\n"]))
    policy = replace(PRESETS[like or "balanced"], **known)
    return Written(policy, ends.join(sheet.rows), tuple(sheet.spots))
