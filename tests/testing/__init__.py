"""The test tools that we ship, tested themselves."""
