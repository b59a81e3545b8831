"""A quantized run into a bundle that a station trusts."""
