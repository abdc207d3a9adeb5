"""What Infodeck's REST API knows of the building's assets."""
