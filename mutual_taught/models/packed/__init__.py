"""Several responses as one row, without padding; README.md here has the notation."""
