"""``edgeinspect-tools convert``: a trained model of another framework as a float ``.tflite``.

Begin with ``convert``; ``sources`` lists the converters.
"""
