"""What of a model the Edge TPU would run, by its documented rules and by its compiler."""
