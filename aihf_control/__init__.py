"""Seed-batched comparison of methods that learn from demonstrations and preferences."""

__version__ = "0.1.0"
