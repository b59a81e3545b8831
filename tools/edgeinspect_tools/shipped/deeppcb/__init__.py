"""``models/deeppcb``: defects of circuit boards beside a reference picture.

Begin with ``train_deeppcb``.
"""
