"""edgeinspect-tools: the PC-side programs that make, verify and measure model bundles."""
