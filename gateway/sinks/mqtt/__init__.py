"""What the MQTT sink is made of: topics of points and assets, their messages, what describes them."""
