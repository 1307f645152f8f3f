"""Reward models over prompts with their responses, in shards."""
