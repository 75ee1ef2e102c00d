"""The nouns everyone shares: frozen, serialisable, no behaviour beyond themselves."""
