"""Programs that run in the environment of a converter, never imported by the tools."""
