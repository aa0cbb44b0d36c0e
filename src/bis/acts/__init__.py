"""Acts: what a person asks bis to do, each a short story told in steps."""
