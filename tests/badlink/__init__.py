"""The connectivity agent on truly bad networks: real packets, real losses, and a judge who knows the truth."""
