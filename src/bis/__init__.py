"""bis: record a machine-learning run, repeat it, and prove that it came out the same."""

__version__ = "0.1.0"
