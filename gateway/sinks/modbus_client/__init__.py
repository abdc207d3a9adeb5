"""What the Modbus client is made of: what is wanted, the requests that write it, and the line."""
