"""Whether webhooks arrive: what came, what should have, and when to raise an alarm."""
