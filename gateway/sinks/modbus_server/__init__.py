"""The Modbus server sink: a TCP server whose registers show the points."""
