"""The hall: the client, whose `execute` reads as the path of a prompt."""

from oblix.client.client import OblixClient
from oblix.client.stream import Stream

__all__ = ["OblixClient", "Stream"]
