"""Deterministic simulation: the real client on a virtual clock, with models, network and disk drawn from one seed."""
