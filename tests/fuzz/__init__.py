"""Bytes that no peer should send: the decoders and readers must take them, or fail in the one way that they promise."""
