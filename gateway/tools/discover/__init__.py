"""A point table drafted from what Infodeck knows and what was reported."""
