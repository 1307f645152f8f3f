"""Several answers as one row, without padding; README.md here has the notation."""
