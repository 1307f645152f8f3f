"""The words of `status` and of the report's page: one name for each number, and a glossary."""

from collections.abc import Mapping

# Label on the terminal and on the page -> row of the report's table.
ROWS = {
    "best checkpoint": "selected step",
    "win rate on D_MS": "win rate on D_MS",
    "chance of τ by luck": "chance to reach tau by luck",
    "pairs kept": "ranked pairs kept",
    "pseudo pairs kept": "pseudo pairs kept",
    "without a reward": "without a reward: responses / duel prompts / eval answers",
    "ε_t": "tolerance",
    "gold": "gold",
    "change of gold from base": "gold, change from base",
    "win rate vs base (gold)": "win rate vs base (gold)",
    "mean reward, r_0": "mean reward, r_0",
    "mean reward, r_t": "mean reward, r_t",
    "distance from base, nats": "distance from base, nats",
    "length, tokens": "length, tokens",
    "r_t right on gold pairs": "r_t on held-out gold pairs",
    "r_t right on own samples": "r_t on own samples",
    "r_0 right on own samples": "r_0 on own samples",
}
NOTE = "Brackets: 95 % intervals. The win rate on D_MS is the best checkpoint's."
GLOSSARY: Mapping[str, str] = {
    "policy, π_t": "the language model that answers; π_0 is the one the run started from",
    "reward model, r_t": "the model that gives an answer a number, its reward; higher is better",
    "iteration, t": "one round: the policy learns from the reward model, "
    "then the reward model from the policy",
    "pair": "two answers to one prompt: the chosen one and the rejected one",
    "pseudo pair": "a pair that no person labelled: the newer policy's answer is taken as chosen",
    "margin, Δ": "the reward of a pseudo pair's chosen answer minus that of the rejected one",
    "ε_t, tolerance": "how far below 0 the margin of a pseudo pair may be before it is dropped",
    "D_MS, selection set": "the prompts on which candidates are compared with the policy before",
    "candidate, checkpoint": "a state of the policy during training that may become π_t",
    "duel": "two policies answer the same prompt, and the higher reward wins",
    "win rate": "the share of duels that are won; a tie is half a win, or none as params.yaml says",
    "τ, threshold": "the win rate that the best candidate must reach for the run to go on",
    "chance of τ by luck": "how likely the best candidate reaches τ although none is better than "
    "the policy before: it falls with more prompts and fewer candidates",
    "distance from base": "how much likelier the policy finds its answers than π_0 does, in nats: "
    "an estimate of the KL divergence",
    "gold": "how far a prompt's instructions are followed, from 0 to 1, as a program measures it",
    "own samples": "pairs of the policy's own answers to one prompt whose gold differs",
    "gold pairs": "held-out pairs whose better side is known by gold",
    "interval": "in brackets, 95 %: where the number would lie with other prompts of the same kind",
    "p": "how often a difference at least this large comes up by chance "
    "if there is none; below 0.05 is rare",
    "token": "the unit a model reads and writes, about three quarters of an English word",
}


def label(row: str) -> str:
    """Give the name of a row of the report's table on the terminal and on the page."""
    return next((name for name, known in ROWS.items() if known == row), row)
