"""Processes killed at random moments, three at a time on one data file: what they acknowledged is there, once, and the books are right."""
