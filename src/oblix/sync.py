"""The blocking twin: `from oblix.sync import OblixClient`."""

from oblix.client.sync import OblixClient, Stream

__all__ = ["OblixClient", "Stream"]
