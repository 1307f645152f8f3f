"""What a run's files say: status, prompts, stories, comparisons."""
