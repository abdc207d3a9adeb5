"""One request of Infodeck's API: who asks, how fast, how often again, and what an answer means."""
