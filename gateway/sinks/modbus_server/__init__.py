"""What the Modbus server is made of: clients, connections, requests, registers and answers."""
