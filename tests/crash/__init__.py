"""The embedded engine's process is killed at random tokens, under the real client."""
