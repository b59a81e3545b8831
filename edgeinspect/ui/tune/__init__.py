"""The full-screen tuning program; ``screen.run`` starts it and loads textual then."""
