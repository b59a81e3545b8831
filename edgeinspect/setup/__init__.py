"""Setting a flashed station up from one text file, ``station.conf``."""
