"""Examines an installation from outside: settings, Infodeck, daemon and receivers."""
