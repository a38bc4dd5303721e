"""Oriel: a computer of one's own in the browser."""

__version__ = "0.1.0"
