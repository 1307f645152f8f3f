"""Any checkpoint measured on its own: benchmarks, rewards of a file, responses to a file."""
