"""Points as lists for people: register map, topic list and document, and spreadsheets read back in."""
