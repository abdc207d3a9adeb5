"""The dashboard: what the browser asks for, and what it is told as it happens."""
