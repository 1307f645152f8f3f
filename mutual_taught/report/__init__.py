"""The report of a run, as text."""
