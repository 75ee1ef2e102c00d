"""Oblix: one call that runs a prompt where it should run, on this machine or in the cloud, and tells you why."""

from oblix._version import __version__

__all__ = ["__version__"]
