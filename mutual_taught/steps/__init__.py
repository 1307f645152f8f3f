"""The stages of an iteration on tables, one module a stage."""
