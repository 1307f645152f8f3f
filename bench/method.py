"""How long the decisions take on tables of the paper's size, and how much memory.

    python -m bench.method                     # 100,000 prompts, 5 responses each
    python -m bench.method --prompts 60000     # the paper's number

Makes a run of random tables (no model), then pairs, filters, verifies and traces. Verifying is
timed five times, each in a process of its own that has imported what it needs; medians are given.
On a virtual machine the first may wait for memory that the host has to hand out first.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from bench.turns import timed
from mutual_taught.artifacts import decision, files, joins, tables
from mutual_taught.artifacts.manifests import STEP, read_manifest, write_manifest
from mutual_taught.audit import provenance
from mutual_taught.audit.start import prepared as data_terms
from mutual_taught.config import blocks, learning, params
from mutual_taught.evaluation import describe, metrics
from mutual_taught.evaluation.judge import Systems, add_gold, judge, model_outputs
from mutual_taught.keys import places, prompt_id, sampling_seeds
from mutual_taught.method.selection import outcomes
from mutual_taught.reading import trace
from mutual_taught.steps import build_pairs, rank_pairs, select_policy, train_rm

WIDTH, TOKENS = 5, 50
DUELLING, EVALUATED = 2000, 500  # as the preset's data.splits
CURVES = {
    "dpo": ("loss", "rewards/accuracies", "rewards/margins"),
    "train_rm": ("loss", "accuracy", "margin"),
}
PRESET = Path(__file__).parent.parent / "presets" / "paper.yaml"


ALONE = """
import time
begin = time.perf_counter()
from pathlib import Path
from mutual_taught.audit.verify import verify
ready, used = time.perf_counter(), time.process_time()
faults = list(verify(Path("run")))
assert not faults, [str(fault) for fault in faults[:5]]
taken, used = time.perf_counter() - ready, time.process_time() - used
status = Path("/proc/self/status").read_text()
print(taken, ready - begin, used, int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def alone() -> tuple[float, ...]:
    """Verify in a process of its own: seconds, those of its imports, processor time, MiB."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PRESET.parent.parent)},
    )
    return tuple(map(float, done.stdout.split()))


def peak() -> float:
    """Give this process's peak memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def model(
    folder: Path, kind: str, parent: str | None, made_by: files.Json, base: str = "none"
) -> str:
    """Write a stand-in for a model: one small file and its manifest."""
    folder.mkdir(parents=True)
    files.write_bytes(folder / "model.safetensors", str(folder).encode())
    return write_manifest(folder, kind, base, parent, made_by).digest


def prompts(settings: blocks.Params, count: int) -> dict[str, list[dict[str, object]]]:
    """Make prompts until every split has its share of `count`."""
    wanted = {"policy_1": count, "reward": count // 3, "selection": DUELLING, "eval": EVALUATED}
    from mutual_taught.prepare.sources import split_plan

    shares, _ = split_plan(settings.data)
    ends = np.cumsum(list(shares.values()))
    names = list(shares)
    found: dict[str, list[dict[str, object]]] = {name: [] for name in names}
    number = 0
    while any(len(found[name]) < size for name, size in wanted.items()):
        number += 1
        messages = [{"role": "user", "content": f"question {number}"}]
        name = prompt_id(messages)
        place = int(np.searchsorted(ends, places(settings.seed, [name])[0], "right"))
        if place < len(names) and len(found[names[place]]) < wanted.get(names[place], 0):
            found[names[place]].append(
                {
                    "prompt_id": name,
                    "messages": messages,
                    "split": names[place],
                    "source": "synthetic",
                    "instruction_ids": [],
                    "instruction_kwargs": [],
                    "chosen": None,
                    "rejected": None,
                    "row": number,
                }
            )
    return found


def answers(ids: np.ndarray, stage: str, t: int, width: int, seed: int) -> pa.Table:
    """Make random answers with the seeds they would have."""
    chance = np.random.default_rng(t)
    rows = len(ids) * width
    lengths = chance.integers(TOKENS // 2, TOKENS, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tokens = chance.integers(0, 32000, offsets[-1]).astype(np.int32)
    index = np.tile(np.arange(width), len(ids))
    named = np.repeat(ids, width)
    return pa.table(
        {
            "prompt_id": named,
            "response_index": index,
            "response": [
                f"answer {number} of some length, as answers are" * 3
                for number in chance.integers(0, 10**9, rows)
            ],
            "token_ids": pa.ListArray.from_arrays(offsets, tokens),
            "length_tokens": lengths,
            "finish_reason": ["stop"] * rows,
            "seed": sampling_seeds(seed, t, stage, named.tolist(), index),
            "logprob": chance.normal(size=rows),
        }
    )


def make_run(run: Path, settings: blocks.Params, count: int) -> dict[str, float]:
    """Write a whole run of one iteration; give the seconds of pairing and filtering."""
    chance, seed = np.random.default_rng(0), settings.seed
    told = provenance.terms("1", settings)
    learnt = {"training": settings.training.decides(), "seed": seed}
    trained = {"active": 1.0, "loss": 1.0}
    split = prompts(settings, count)
    everything = [row for rows in split.values() for row in rows]
    prepared = data_terms(run / "0", settings)
    tables.write(run / "0", tables.ALL_PROMPTS, pa.Table.from_pylist(everything), prepared)
    tables.write(
        run / "0",
        tables.DROPPED_PROMPTS,
        tables.DROPPED_PROMPTS.schema.empty_table(),
        {**prepared, "rows": len(everything)},
        active=False,
    )
    for name in ("policy", "reward", "selection", "eval"):
        rows = split["policy_1" if name == "policy" else name]
        if name == "policy":
            rows = [row for key, part in split.items() if key.startswith("policy_") for row in part]
        tables.write(run / "0" / "splits", tables.split(name), pa.Table.from_pylist(rows), {})
    start = settings.models
    base = model(run / "0" / "policy", "policy", None, {"seed": seed}, start.policy.called)
    reward_model = model(
        run / "0" / "reward_model", "reward_model", None, {}, start.reward_model.called
    )
    decision.write(run / "0", decision.Decision(True, "0"))
    tables.empty(run / "0", tables.ANSWERS, tables.REWARD_PAIRS, tables.SEED_PAIRS)
    ids = {
        name: np.array(sorted(str(r["prompt_id"]) for r in split[name]))
        for name in ("policy_1", "reward", "selection")
    }
    here = run / "1"
    for stage, (loss, *names) in CURVES.items():
        row = dict.fromkeys([loss, *names], 1.0)
        files.write_curve(here / "curves" / f"{stage}.csv", list(row), [row])
    drawn = _written(
        here,
        tables.RESPONSES,
        answers(ids["policy_1"], "sample", 1, WIDTH, seed),
        {"policy": base, **asked(split["policy_1"]), **told["responses"]},
    )
    scores = pa.table(
        {
            "prompt_id": drawn["prompt_id"],
            "response_index": drawn["response_index"],
            "reward": chance.normal(size=len(drawn)),
            "reason": [""] * len(drawn),
        }
    )
    judged_by = {"reward_model": reward_model}
    rewards = _written(
        here,
        tables.REWARDS,
        scores,
        {**judged_by, **tables.digests(responses=drawn), **told["rewards"]},
    )
    ranked, pairing = timed(
        lambda: rank_pairs.rank(drawn, rewards, WIDTH, settings.rank_pairs.chosen)
    )
    assert isinstance(ranked, pa.Table)
    for name in ("reference_chosen_logps", "reference_rejected_logps"):
        ranked = ranked.append_column(
            name, pa.array(chance.normal(size=len(ranked)), mask=~ranked["kept"].to_numpy())
        )
    made_from = {
        "policy": base,
        **tables.digests(responses=drawn, rewards=rewards),
        **told["ranked_pairs"],
    }
    ranked = _written(here, tables.RANKED_PAIRS, ranked, made_from)
    policy = model(
        here / "checkpoints" / STEP.format(50),
        "policy",
        base,
        {
            **tables.digests(ranked_pairs=ranked, responses=drawn),
            **learnt,
            "policy": base,
            "dpo": params.load(learning.Dpo, "1").model_dump(),
        },
        start.policy.called,
    )
    files.write_json(here / "checkpoints" / "steps.json", {"steps": [50]})
    own, theirs = chance.normal(1, 1, len(ids["selection"])), chance.normal(size=DUELLING)
    duels = pa.table(
        {
            "step": np.full(DUELLING, 50),
            "prompt_id": ids["selection"],
            "response_index": np.zeros(DUELLING, np.int64),
            "response": ["a"] * DUELLING,
            "previous_response": ["b"] * DUELLING,
            "token_ids": pa.array([[1]] * DUELLING, tables.TOKENS),
            "previous_token_ids": pa.array([[2]] * DUELLING, tables.TOKENS),
            "finish_reason": ["stop"] * DUELLING,
            "previous_finish_reason": ["stop"] * DUELLING,
            **{
                name: sampling_seeds(seed, 1, stage, ids["selection"], np.zeros(DUELLING, np.int64))
                for name, stage in (("seed", "duel"), ("previous_seed", "duel_previous"))
            },
            "reward": own,
            "previous_reward": theirs,
            "outcome": outcomes(own, theirs),
            "reason": [""] * DUELLING,
        }
    )
    fought = {
        "reward_model": reward_model,
        "policies": [base, policy],
        **asked(split["selection"]),
        **told["duels"],
    }
    duels = _written(here, tables.DUELS, duels, fought)
    select_policy.choose(
        duels,
        here / "checkpoints",
        run / "0" / "policy",
        decision.Decision(True, "0"),
        here,
        "1",
        settings.select_policy,
        seed,
    )
    both = []
    for stage, table, made_by in (
        ("answer", tables.ANSWERS, policy),
        ("answer_previous", tables.PREVIOUS_ANSWERS, base),
    ):
        made = answers(ids["reward"], stage, 1, 1, seed).select(list(table.columns))
        answered = {"policy": made_by, **asked(split["reward"]), **told[table.name]}
        both.append(_written(here, table, made, answered))
    now, before = both
    judged = pa.table(
        {
            "prompt_id": ids["reward"],
            "reward": chance.normal(size=len(now)),
            "previous_reward": chance.normal(size=len(now)),
            "reason": [""] * len(now),
            "previous_reason": [""] * len(now),
        }
    )
    made_from = {
        **judged_by,
        **tables.digests(answers=now, previous_answers=before),
        **told["answer_rewards"],
    }
    _written(here, tables.ANSWER_REWARDS, judged, made_from)
    inputs = build_pairs.Inputs(
        tables.ANSWERS.path(here),
        tables.PREVIOUS_ANSWERS.path(here),
        tables.ANSWER_REWARDS.path(here),
        tables.RANKED_PAIRS.path(here),
        tables.RESPONSES.path(here),
        tables.REWARD_PAIRS.path(run / "0"),
        tables.split("reward").path(run / "0" / "splits"),
        tables.SEED_PAIRS.path(run / "0"),
    )
    _, filtering = timed(
        lambda: build_pairs.pseudo_pairs(now, before, judged, settings.build_pairs.filter)
    )
    _, mixing = timed(lambda: build_pairs.build(inputs, 1, settings.build_pairs, seed, here))
    mixed = tables.read(tables.REWARD_PAIRS.path(here), tables.REWARD_PAIRS)
    model(
        here / "reward_model",
        "reward_model",
        reward_model,
        {
            **tables.digests(reward_pairs=mixed),
            **learnt,
            "settings": params.load(learning.TrainRm, "1").model_dump(),
        },
        start.reward_model.called,
    )
    met = as_met(mixed, settings.train_rm.batch_size)
    _written(here, tables.REWARD_TRAINING, met, tables.digests(reward_pairs=mixed))
    for key in ("0", "1"):
        evaluate(run, key, split["eval"], settings)
    for stage, numbers in (
        ("sample", describe.answers(drawn)),
        ("score", describe.rewards(rewards)),
        (
            "train_rm",
            {
                **trained,
                "accuracy": 1.0,
                "margin": 1.0,
                **train_rm.accuracy_by_epoch(met),
                "steps": float(met["step"].to_numpy().max()),
            },
        ),
        ("dpo", {**trained, "reward_accuracy": 1.0, "reward_margin": 1.0, "steps": 50.0}),
        ("rank_pairs", {"active": 1.0, **joins.counts(ranked["kept"], ranked["reason"])}),
    ):
        files.write_metrics(here / "metrics" / f"{stage}.json", numbers)
    for stage, drawn in (("answer", now), ("answer_previous", before)):
        files.write_metrics(here / "metrics" / f"{stage}.json", describe.answers(drawn))
    sizes = {f"prompts_{name}": float(len(rows)) for name, rows in split.items() if rows}
    sizes |= {"rows": sum(sizes.values()), "dropped": 0.0}
    files.write_metrics(run / "0" / "metrics" / "prepare_prompts.json", sizes)
    return {"pair": pairing, "filter": filtering, "build_pairs with reading and writing": mixing}


def as_met(pairs: pa.Table, batch: int) -> pa.Table:
    """Make random rewards of one epoch over the mix."""
    chance = np.random.default_rng(0)
    chosen, rejected = chance.normal(size=len(pairs)), chance.normal(size=len(pairs))
    return pa.table(
        {
            "pair_id": pairs["pair_id"],
            "step": np.arange(len(pairs)) // batch + 1,
            "epoch": np.ones(len(pairs), np.int64),
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "reward_margin": chosen - rejected,
            "correct": chosen > rejected,
        }
    )


def asked(rows: list[dict[str, object]]) -> dict[str, str]:
    """Digest prompts as the provenance of answers does."""
    prompts = tables.PROMPTS.sorted(pa.Table.from_pylist(rows, tables.PROMPTS.schema))
    return {"prompts": tables.rows_digest(prompts.select(provenance.CONVERSATION))}


def evaluate(run: Path, t: str, rows: list[dict[str, object]], settings: blocks.Params) -> None:
    """Write an evaluation of random answers."""
    listed, count = pa.Table.from_pylist(rows), settings.eval.responses_per_prompt
    ids = np.array(sorted(str(row["prompt_id"]) for row in rows))
    own = add_gold(answers(ids, "eval", 0, count, settings.seed), listed)
    for name in ("reward_r0", "reward_rt"):
        own = own.append_column(name, pa.array(np.random.default_rng(int(t)).normal(size=len(own))))
    own = own.append_column("reason", [[""] * len(own)])
    models = {name: read_manifest(run / t / name).digest for name in ("policy", "reward_model")}
    drawn = {
        "policy": models["policy"],
        **asked(rows),
        **provenance.terms(t, settings)["generations"],
    }
    own = _written(run / t / "eval", tables.GENERATIONS, own, drawn)
    outputs = model_outputs(own, tables.PROMPTS.sorted(listed), f"mutual-taught-{t}")
    files.write_json(run / t / "eval" / "model_outputs.json", outputs)
    judged_by = {
        "reward_model": models["reward_model"],
        **provenance.terms(t, settings)["judgements"],
    }
    base = tables.read(tables.GENERATIONS.path(run / "0" / "eval"), tables.GENERATIONS)
    systems = Systems(own, base, base)
    judged = _written(run / t / "eval", tables.JUDGEMENTS, judge(systems), judged_by)
    scores = tables.RM_SCORES.schema.empty_table()
    tables.write(run / t / "eval", tables.RM_SCORES, scores, judged_by, active=False)
    numbers = {
        "active": 1.0,
        **metrics.policy_metrics(systems, judged, settings.seed),
        **metrics.reward_model_metrics(scores, settings.seed),
    }
    files.write_metrics(run / t / "metrics" / "eval.json", numbers)


def _written(folder: Path, table: tables.Table, rows: pa.Table, made_from: files.Json) -> pa.Table:
    return tables.read(tables.write(folder, table, rows, made_from), table)


@click.command()
@click.option("--prompts", "count", default=100_000, help="Prompts of the policy's part.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
def main(count: int, out: Path | None) -> None:
    """Time the decisions on a synthetic run."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        lines = PRESET.read_text(encoding="utf-8").splitlines(keepends=True)
        one = [line for line in lines if not line.startswith('  "2": ')]  # iteration 1 alone
        params.PARAMS.write_text("".join(one), encoding="utf-8")
        settings = params.validate(params.read(params.PARAMS))
        run = Path("run")
        seconds = make_run(run, settings, count)
        made = peak()
        os.sync()  # what was just written is not to be waited for below
        said = [alone() for _ in range(5)]
        taken, starting, used, verifying = map(statistics.median, zip(*said, strict=True))
        seconds |= {"verify": taken, "its processor time": used, "its imports": starting}
        name = tables.read(tables.RANKED_PAIRS.path(run / "1"), tables.RANKED_PAIRS)["prompt_id"]
        seconds["trace"] = timed(lambda: trace.prompt(run, name[count // 2].as_py()))[1]
    click.echo(f"{count} prompts, {WIDTH} responses each")
    for what, value in seconds.items():
        click.echo(f"{what:40} {value:6.2f} s")
    click.echo(
        f"peak memory: verify alone {verifying:.0f} MiB, pairing and filtering {made:.0f} MiB"
    )
    if out:
        files.write_json(
            out,
            {"seconds": seconds, "peak_mib": {"verify": verifying, "all": made}, "prompts": count},
        )


if __name__ == "__main__":
    main()
