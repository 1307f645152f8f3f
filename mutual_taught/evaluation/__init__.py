"""Gold, judgements and every number of an evaluation."""
