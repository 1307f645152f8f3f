"""Iteration 0: prompts, the base models, seed preferences."""
