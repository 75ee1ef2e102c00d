"""Referees that nobody here wrote: `llmock` grades our client, `aimock` puts chaos between it and a real model."""
