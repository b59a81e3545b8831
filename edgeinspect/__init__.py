"""edgeinspect: a self-contained visual inspection station for small boards."""

__version__ = "0.2.0"
