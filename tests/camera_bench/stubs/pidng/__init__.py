"""Stands in for the writer of raw files that picamera2 imports: no raw file is ever written here."""
