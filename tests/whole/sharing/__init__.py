"""Sharing a run for real: a folder, and an S3 server on loopback; make test-sharing."""
