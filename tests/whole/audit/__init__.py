"""Every column of every table, altered in turn."""
