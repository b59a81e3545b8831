"""Programs that run inside a converter's own environment; none imports edgeinspect."""
