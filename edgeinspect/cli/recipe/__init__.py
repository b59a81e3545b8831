"""``edgeinspect recipe``: look at, change, apply and audit recipes.

It may import what ``cli`` may. Begin with ``recipe_command``.
"""
