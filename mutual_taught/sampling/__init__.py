"""Samplers that draw responses, in shards."""
