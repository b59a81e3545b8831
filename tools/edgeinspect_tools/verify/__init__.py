"""The parity certificate: float against int8, tools against station, on held-out pictures."""
