"""What a run will do and need, and how far it has come."""
