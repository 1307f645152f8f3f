"""Engines that draw responses, in shards."""
