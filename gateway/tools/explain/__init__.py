"""One event's way through the mapping, told step by step."""
