"""Real parts that tests start, and the facts they share."""
