"""The paper, on arrays: it imports errors and keys only."""
