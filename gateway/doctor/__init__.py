"""Examines a set-up from outside: settings, cloud side, daemon, receivers; and says what to do."""
