"""Infodeck's webhooks as its management API tells of them: subscriptions, attempts, why they failed."""
