"""What works on point tables offline: register map, spreadsheets, diff, explain, discover."""
