"""The measurements behind every figure we publish: `python -m bench`, or `make bench`."""
