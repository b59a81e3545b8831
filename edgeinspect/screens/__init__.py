"""The full-screen terminal programs.

It may import every room but ``cli``. Begin with ``tune.tune_screen`` and ``live.live_screen``.
"""
