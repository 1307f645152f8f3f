"""Any checkpoint measured on its own: benchmarks, rewards of a file, answers to a file."""
