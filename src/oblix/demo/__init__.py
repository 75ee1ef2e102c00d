"""The guided tour behind `oblix demo`."""
