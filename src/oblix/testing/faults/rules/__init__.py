"""What providers demand of a conversation, as their servers check it: each rule with the words of its refusal. Pure.

These checks share nothing with the code that keeps them.
"""

from __future__ import annotations

from oblix.testing.faults.rules.claude import claude, claude_prefix
from oblix.testing.faults.rules.common import Rules, first, sign
from oblix.testing.faults.rules.home import mistral_template, ollama, template
from oblix.testing.faults.rules.mistral import mistral
from oblix.testing.faults.rules.openai import SKIP, deepseek, gemini, openai

RULES: dict[str, Rules] = {
    "openai": first(openai),
    "deepseek": first(deepseek),
    "gemini": first(gemini),
    "mistral": first(mistral),
    "claude": first(claude),
    "ollama": first(ollama),
    "embedded": first(template),
    "embedded-mistral": first(mistral_template),
}

__all__ = ["RULES", "SKIP", "Rules", "claude_prefix", "sign"]
