"""Data sets of pictures: read from common layouts, judged, grouped and split without leaks."""
