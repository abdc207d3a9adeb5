"""What a change of point tables does to those who use the points."""
