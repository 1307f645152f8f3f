"""DVC, started and stopped; experiments."""
