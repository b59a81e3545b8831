"""Any trained model to a float .tflite in the bundle's layout: batch 1, NHWC, one in, one out."""
