"""The BACnet sink: a BACnet/IP device whose objects show the points."""
