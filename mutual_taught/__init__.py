"""Mutual-Taught: a policy and its reward model improve each other (arXiv 2506.06292)."""

__version__ = "0.1.0"
