"""Reward models over prompts with their answers, in shards."""
