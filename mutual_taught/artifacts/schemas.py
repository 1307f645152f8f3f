"""The schemas of the Parquet tables that stages exchange: columns, keys, what may be null."""

from dataclasses import replace

import pyarrow as pa

from mutual_taught.artifacts.table import MadeFrom, Table

TOO_LONG, REFUSED = "too_long", "template_refuses"
UNSCORED = (TOO_LONG, REFUSED)  # why a response has no reward

TEXT, NUMBER, INDEX, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
TOKENS, TEXTS = pa.list_(pa.int32()), pa.list_(pa.string())
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))

ENGINE = ("engine", "tensor_parallel")  # named where it is not the default one
DRAWN = MadeFrom(("policy", "prompts"), ("plan", "dtype"), ENGINE)

PROMPTS = Table(
    "split",
    {
        "prompt_id": TEXT,
        "messages": MESSAGES,
        "split": TEXT,
        "source": TEXT,
        "instruction_ids": TEXTS,
        "instruction_kwargs": TEXTS,
        "chosen": TEXT,
        "rejected": TEXT,
    },
    ("prompt_id",),
    frozenset({"chosen", "rejected"}),
    made_from=MadeFrom(terms=("seed",)),
)
ALL_PROMPTS = replace(
    PROMPTS,
    name="prompts",
    columns={**PROMPTS.columns, "row": INDEX},
    made_from=MadeFrom(("tokenizers",), ("data", "seed", "tokens", "longest_answer")),
)
DROPPED_PROMPTS = Table(
    "dropped_prompts",
    {"file": TEXT, "row": INDEX, "reason": TEXT, "excerpt": TEXT},
    ("file", "row"),
    made_from=MadeFrom(*ALL_PROMPTS.made_from[:2], switched=("rows",)),
)
RESPONSES = Table(
    "responses",
    {
        "prompt_id": TEXT,
        "response_index": INDEX,
        "response": TEXT,
        "token_ids": TOKENS,
        "length_tokens": INDEX,
        "finish_reason": TEXT,
        "seed": INDEX,
        "logprob": NUMBER,
    },
    ("prompt_id", "response_index"),
    frozenset({"logprob"}),
    made_from=DRAWN._replace(switched=(*ENGINE, "source", "max_length")),
)
REWARDS = Table(
    "rewards",
    {"prompt_id": TEXT, "response_index": INDEX, "reward": NUMBER, "reason": TEXT},
    ("prompt_id", "response_index"),
    frozenset({"reward"}),
    made_from=MadeFrom(("reward_model", "responses"), ("dtype", "max_length")),
)
RANKED_PAIRS = Table(
    "ranked_pairs",
    {
        "prompt_id": TEXT,
        "chosen_index": INDEX,
        "rejected_index": INDEX,
        "reward_chosen": NUMBER,
        "reward_rejected": NUMBER,
        "reference_chosen_logps": NUMBER,
        "reference_rejected_logps": NUMBER,
        "kept": FLAG,
        "reason": TEXT,
    },
    ("prompt_id",),
    frozenset(
        {
            "chosen_index",
            "rejected_index",
            "reward_chosen",
            "reward_rejected",
            "reference_chosen_logps",
            "reference_rejected_logps",
        }
    ),
    made_from=MadeFrom(
        ("policy", "responses", "rewards"),
        ("chosen", "ended_only", "reference", "reference_logps", "reference_dtype"),
        ("length_slope",),
    ),
)
DUELS = Table(
    "duels",
    {
        "step": INDEX,
        "prompt_id": TEXT,
        "response_index": INDEX,
        "response": TEXT,
        "previous_response": TEXT,
        "token_ids": TOKENS,
        "previous_token_ids": TOKENS,
        "finish_reason": TEXT,
        "previous_finish_reason": TEXT,
        "seed": INDEX,
        "previous_seed": INDEX,
        "reward": NUMBER,
        "previous_reward": NUMBER,
        "outcome": NUMBER,
        "reason": TEXT,
    },
    ("step", "prompt_id", "response_index"),
    frozenset({"reward", "previous_reward", "outcome", "preference"}),
    {
        "gold": NUMBER,
        "previous_gold": NUMBER,
        "preference": NUMBER,
        "reply": TEXT,
        "swapped_reply": TEXT,
    },
    made_from=MadeFrom(
        ("policies", "reward_model", "prompts"),
        ("duel", "max_length", "seed", "dtype", "partition"),
        (*ENGINE, "judge", "instructions", "judge_model"),
    ),
)
ANSWERS = Table(
    "answers",
    {
        "prompt_id": TEXT,
        "response": TEXT,
        "token_ids": TOKENS,
        "length_tokens": INDEX,
        "finish_reason": TEXT,
        "seed": INDEX,
    },
    ("prompt_id",),
    made_from=DRAWN,
)
PREVIOUS_ANSWERS = replace(
    ANSWERS, name="previous_answers", made_from=DRAWN._replace(switched=(*ENGINE, "against"))
)
ANSWER_REWARDS = Table(
    "answer_rewards",
    {
        "prompt_id": TEXT,
        "reward": NUMBER,
        "previous_reward": NUMBER,
        "reason": TEXT,
        "previous_reason": TEXT,
    },
    ("prompt_id",),
    frozenset({"reward", "previous_reward"}),
    made_from=MadeFrom(("reward_model", "answers", "previous_answers"), ("dtype", "max_length")),
)
PSEUDO_PAIRS = Table(
    "pseudo_pairs",
    {
        "prompt_id": TEXT,
        "response": TEXT,
        "previous_response": TEXT,
        "reward": NUMBER,
        "previous_reward": NUMBER,
        "reward_margin": NUMBER,
        "kept": FLAG,
        "reason": TEXT,
    },
    ("prompt_id",),
    frozenset({"reward", "previous_reward", "reward_margin"}),
    {"gold": NUMBER, "previous_gold": NUMBER, "chosen": TEXT},
    MadeFrom(
        ("answers", "previous_answers", "answer_rewards"),
        ("filter", "tolerance"),
        ("labels", "instructions"),
    ),
)
REWARD_PAIRS = Table(
    "reward_pairs",
    {
        "pair_id": TEXT,
        "kind": TEXT,
        "iteration": INDEX,
        "prompt_id": TEXT,
        "chosen": TEXT,
        "rejected": TEXT,
    },
    ("prompt_id", "pair_id"),
    switched={"weight": NUMBER},
    made_from=MadeFrom(
        (*PSEUDO_PAIRS.made_from.inputs, "ranked_pairs", "responses"),
        ("filter", "ranked", "pseudo", "accumulate"),
        (
            *PSEUDO_PAIRS.made_from.switched,
            *("previous_pairs", "seed_pairs", "seed_preferences", "seed"),
            *("weights", "duels", "selection_instructions", "calibration"),
        ),
    ),
)
REWARD_TRAINING = Table(
    "reward_training",
    {
        "pair_id": TEXT,
        "step": INDEX,
        "epoch": INDEX,
        "reward_chosen": NUMBER,
        "reward_rejected": NUMBER,
        "reward_margin": NUMBER,
        "correct": FLAG,
    },
    ("step", "pair_id"),
    made_from=MadeFrom(("reward_pairs",)),
)
GENERATIONS = Table(
    "generations",
    {
        "prompt_id": TEXT,
        "response_index": INDEX,
        "response": TEXT,
        "token_ids": TOKENS,
        "length_tokens": INDEX,
        "length_chars": INDEX,
        "finish_reason": TEXT,
        "seed": INDEX,
        "gold": NUMBER,
        "passed": FLAG,
        "reward_r0": NUMBER,
        "reward_rt": NUMBER,
        "reward_previous": NUMBER,
        "reason": TEXT,
        "logprob": NUMBER,
        "base_logprob": NUMBER,
    },
    ("prompt_id", "response_index"),
    frozenset({"gold", "passed", "reward_r0", "reward_rt", "reward_previous"}),
    made_from=DRAWN._replace(
        inputs=(*DRAWN.inputs, "base_policy", "previous_reward_model"),
        terms=(*DRAWN.terms, "max_length"),
    ),
)
JUDGEMENTS = Table(
    "judgements",
    {
        "prompt_id": TEXT,
        "response_index": INDEX,
        "system_a": TEXT,
        "system_b": TEXT,
        "judge": TEXT,
        "order": INDEX,
        "outcome": NUMBER,
        "raw_a": NUMBER,
        "raw_b": NUMBER,
        "parse_ok": FLAG,
        "length_a": INDEX,
        "length_b": INDEX,
    },
    ("judge", "system_b", "prompt_id", "response_index"),
    frozenset({"raw_a", "raw_b"}),
    made_from=MadeFrom(("reward_model",), ("max_length",)),
)
VERDICTS = Table(
    "verdicts",
    {
        "against": TEXT,
        "prompt_id": TEXT,
        "response_index": INDEX,
        "order": INDEX,
        "preference": NUMBER,
        "weight": INDEX,
        "verdict": TEXT,
        "first_logprob": NUMBER,
        "second_logprob": NUMBER,
        "reason": TEXT,
        "key": TEXT,
        "prompt_tokens": INDEX,
        "completion_tokens": INDEX,
    },
    ("against", "prompt_id", "response_index", "order"),
    frozenset({"preference", "first_logprob", "second_logprob"}),
    made_from=MadeFrom(("answers", "others", "prompts"), ("style", "model", "max_tokens")),
)
RM_SCORES = Table(
    "rm_scores",
    {
        "set": TEXT,
        "pair_id": TEXT,
        "subset": TEXT,
        "prompt_id": TEXT,
        "reward_model": TEXT,
        "reward_chosen": NUMBER,
        "reward_rejected": NUMBER,
        "length_chosen": INDEX,
        "length_rejected": INDEX,
    },
    ("set", "reward_model", "prompt_id", "pair_id"),
    frozenset({"reward_chosen", "reward_rejected"}),
    made_from=MadeFrom(("reward_model",), ("max_length",)),
)
GOLD_PAIRS = Table(
    "gold_pairs",
    {
        "prompt_id": TEXT,
        "messages": MESSAGES,
        "chosen": TEXT,
        "rejected": TEXT,
        "gold_chosen": NUMBER,
        "gold_rejected": NUMBER,
        "part": TEXT,
    },
    ("prompt_id",),
    made_from=MadeFrom(switched=("subset", "dropped")),
)
SEED_PAIRS = replace(GOLD_PAIRS, name="seed_pairs", made_from=MadeFrom(terms=("max_length",)))
RECORDS = Table(
    "records",
    {
        "item_id": TEXT,
        "subset": TEXT,
        "prompt_id": TEXT,
        "value": NUMBER,
        "labels": pa.list_(NUMBER),
        "rewards": pa.list_(NUMBER),
    },
    ("item_id",),
    made_from=MadeFrom(("model", "items"), ("benchmark", "dtype", "max_length", "plan"), ENGINE),
)

EXCHANGED = (
    RESPONSES,
    REWARDS,
    RANKED_PAIRS,
    DUELS,
    PREVIOUS_ANSWERS,
    ANSWERS,
    ANSWER_REWARDS,
    PSEUDO_PAIRS,
    REWARD_PAIRS,
)


def renamed(table: Table, name: str) -> Table:
    """Give a table's schema another file name."""
    return replace(table, name=name)


def split(name: str) -> Table:
    """Give the table of the prompts of a split; it lies in `run/0/splits`."""
    return renamed(PROMPTS, name)
