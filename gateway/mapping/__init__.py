"""Point tables compiled to functions: conversions, units, registers, topics. Reads tables, no other I/O."""
