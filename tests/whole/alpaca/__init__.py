"""AlpacaEval's own program, in an environment of its own, beside ours."""
