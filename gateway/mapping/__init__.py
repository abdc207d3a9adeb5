"""Pure: point tables compiled to functions, values to register words, the newest value of each point."""
