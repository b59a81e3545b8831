"""Stands in for the writer of raw files that picamera2 imports: none is ever written here."""
