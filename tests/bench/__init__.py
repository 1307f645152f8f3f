"""The benchmarks' own sums."""
