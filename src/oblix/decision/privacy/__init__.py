"""Privacy: what in a request is private, and how a cloud model may answer it without seeing that."""
