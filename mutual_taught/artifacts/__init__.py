"""The files that stages exchange: tables, models' manifests, decisions."""
