"""Engines that draw answers, in shards."""
