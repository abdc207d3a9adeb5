"""What every point shows now: values, quality, ageing, overrides."""
