"""The Modbus client sink: writes points into the registers and coils of controllers."""
