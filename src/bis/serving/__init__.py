"""Serving models over HTTP: the front, which holds no model, and the workers that it hands requests to."""
