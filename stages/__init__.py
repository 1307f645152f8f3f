"""One click command a DVC stage: read, call, write."""
