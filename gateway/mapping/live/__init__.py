"""What runs: readings become updates, updates the newest value of every point."""
