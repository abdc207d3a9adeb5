"""Infodeck's API: inventory, reconcile, backfill, webhooks and their delivery."""
