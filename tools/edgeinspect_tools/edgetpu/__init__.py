"""``edgeinspect-tools edgetpu``: what of a model an Edge TPU would run.

Begin with ``check``; ``rules`` has the compiler's rules.
"""
