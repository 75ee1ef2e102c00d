"""What the user settled: arguments first, then the environment, then `oblix.toml` and policy files, then defaults."""

from oblix.settings.budget import Budget
from oblix.settings.environment import home, is_placeholder, resolve_endpoint
from oblix.settings.file import Settings, load
from oblix.settings.policies import file_of, find_policy, read_policy

__all__ = [
    "Budget",
    "Settings",
    "file_of",
    "find_policy",
    "home",
    "is_placeholder",
    "load",
    "read_policy",
    "resolve_endpoint",
]
