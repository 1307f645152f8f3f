"""Small files by hand in the format of each reward-model benchmark; no row of theirs is in them.

`python -m tests.evaluation.benchmarks.published FOLDER` writes all of them.
"""

import gzip
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.evaluation.benchmarks import rewardbench

Row = dict[str, Any]
Files = dict[str, list[Row]]

# A question, a right response and a wrong one.
BANK = (
    (
        "How many legs has a spider?",
        "A spider has eight legs.",
        "It has six legs, like all insects.",
    ),
    ("What is 7 times 8?", "7 times 8 is 56.", "It is 54."),
    (
        "Name the largest planet of the Sun.",
        "Jupiter is the largest.",
        "That is Saturn, I believe.",
    ),
    ("Which gas do plants take in?", "Plants take in carbon dioxide.", "They take in nitrogen."),
    ("At how many degrees Celsius does water boil at sea level?", "At 100 degrees.", "At 90."),
    ("Who wrote Hamlet?", "William Shakespeare wrote it.", "It was written by Charles Dickens."),
    ("What is the capital of Peru?", "Lima is its capital.", "The capital of Peru is Cusco."),
    ("Is 91 a prime number?", "No: 91 is 7 times 13.", "Yes, nothing divides it."),
    ("How many minutes are in two hours?", "Two hours are 120 minutes.", "There are 100 of them."),
    ("Which metal is liquid at room temperature?", "Mercury is liquid then.", "Aluminium, always."),
    ("What do bees make?", "Bees make honey and wax.", "Bees make milk for their young ones."),
    ("Which ocean lies west of Portugal?", "The Atlantic Ocean.", "The Pacific Ocean lies there."),
    ("Say hello without a comma.", "Hello and welcome!", "Hello, and welcome, my dear friend!"),
    ("Answer in lower case: what colour is snow?", "snow is white.", "SNOW IS WHITE."),
    ("What is the square root of 81?", "It is 9.", "The square root of 81 is 8."),
    ("How many sides has a hexagon?", "A hexagon has six sides.", "A hexagon has eight sides."),
)


def ask(number: int) -> tuple[str, str, str]:
    """Give a question of the bank, its right and its wrong response."""
    return BANK[number % len(BANK)]


def rewardbench2_rows() -> list[Row]:
    rows: list[Row] = []
    for place, subset in enumerate(("Factuality", "Precise IF", "Math", "Safety", "Focus")):
        for number in (3 * place, 3 * place + 1, 3 * place + 2):
            prompt, right, wrong = ask(number)
            others = [wrong, f"I do not know: {wrong}", "That is not a question I can answer."]
            rows.append(_row2(f"{number}", subset, prompt, [right], others))
    many = [f"{day} is a day of the week." for day in ("Monday", "Tuesday", "Friday")]
    never = ["May is a day of the week.", "Noon is one.", "Tuesmorrow is one."]
    for number in (0, 1):
        asked = f"Name a day of the week{'.' * number}"
        rows.append(_row2(f"tied:{number}", "Ties", asked, many, never))
        rows.append(_row2(f"ref:{number}", "Ties", f"{asked} It begins with F.", many[2:], never))
    return rows


def _row2(name: str, subset: str, prompt: str, right: list[str], wrong: list[str]) -> Row:
    return {
        "id": name,
        "prompt": prompt,
        "chosen": right,
        "rejected": wrong,
        "num_correct": len(right),
        "num_incorrect": len(wrong),
        "total_completions": len(right) + len(wrong),
        "models": ["by hand"] * (len(right) + len(wrong)),
        "subset": subset,
        "additional_metadata": None,
    }


def rewardbench_rows() -> list[Row]:
    """Give two pairs of each subset."""
    rows = []
    for number, subset in enumerate(name for name in rewardbench.ITEMS for _ in (0, 1)):
        prompt, right, wrong = ask(number)
        rows.append(
            {
                "prompt": prompt,
                "chosen": right,
                "chosen_model": "by hand",
                "rejected": wrong,
                "rejected_model": "by hand",
                "subset": subset,
                "id": number,
            }
        )
    return rows


def rm_bench_rows() -> list[Row]:
    rows = []
    domains = ("chat", "code", "math", "safety-refuse", "safety-response")
    for number, domain in enumerate(name for name in domains for _ in (0, 1)):
        prompt, *responses = ask(number)
        styles = [
            [text, f"{text} I have checked it.", f"**{text}**\n\n- I have checked it.\n- Twice."]
            for text in responses
        ]
        rows.append(
            {
                "id": number,
                "prompt": prompt,
                "chosen": styles[0],
                "rejected": styles[1],
                "domain": domain,
            }
        )
    return rows


def judgebench_rows(model: str, first: int) -> list[Row]:
    rows = []
    sources = ("mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench")
    for number, source in enumerate(name for name in sources for _ in (0, 1)):
        prompt, right, wrong = ask(first + number)
        a, b, label = (right, wrong, "A>B") if number % 2 else (wrong, right, "B>A")
        rows.append(
            {
                "pair_id": f"{model}-{number}",
                "original_id": number,
                "source": source,
                "question": prompt,
                "response_model": model,
                "response_A": a,
                "response_B": b,
                "label": label,
            }
        )
    return rows


def ppe_rows(first: int) -> list[Row]:
    rows = []
    for number in (first, first + 1, first + 2):
        prompt, right, wrong = ask(number)
        responses = [wrong, right, f"{right} That is all.", f"My answer: {wrong}"]
        named = {f"response_{place}": text for place, text in enumerate(responses, 1)}
        rows.append(
            {
                "question_id": f"q{number}",
                "model_name": "by hand",
                "prompt": prompt,
                **named,
                "scores": [False, True, True, False],
                "sampled_conflict_pairs": [[0, 1], [2, 3], [3, 1]],
            }
        )
    return rows


def rmb_pairs(path: str, first: int) -> list[Row]:
    return [
        {
            "pair_uid": f"{path}-{number}",
            "conversation_input": [_said(number)],
            "chosen": {"llm_name": "by hand", "answer": ask(number)[1]},
            "reject": {"llm_name": "by hand", "answer": ask(number)[2]},
            "category_path": f"Pairwise_set/{path}",
        }
        for number in (first, first + 1)
    ]


def rmb_groups(path: str, first: int) -> list[Row]:
    return [
        {
            "conversation_input": [_said(number)],
            "bon_best": {"llm_name": "by hand", "answer": ask(number)[1]},
            "loser_list": [
                {"llm_name": "by hand", "answer": ask(number)[2]},
                {"llm_name": "by hand", "answer": f"{ask(number)[2]} Or so."},
            ],
            "bon_uid": f"{path}-{number}",
            "category_path": f"BoN_set/{path}",
        }
        for number in (first, first + 1)
    ]


def _said(number: int) -> Row:
    return {"content": ask(number)[0], "language": "English", "role": "user"}


def llmbar_rows(first: int) -> list[Row]:
    rows = []
    for number in (first, first + 1, first + 2):
        prompt, right, wrong = ask(number)
        texts = (right, wrong) if number % 2 else (wrong, right)
        label = 1 if number % 2 else 2
        rows.append({"input": prompt, "output_1": texts[0], "output_2": texts[1], "label": label})
    return rows


def m_ifeval_rows(followed: Sequence[bool]) -> list[Row]:
    """Give a model's responses to the first questions of the bank, with verdicts on them."""
    rows = []
    for number, follows in enumerate(followed):
        prompt, right, wrong = ask(12 + number)
        rows.append(
            {
                "follow_all_instructions": follows,
                "follow_instruction_list": [follows],
                "instruction_id_list": ["punctuation:no_comma"],
                "prompt": prompt,
                "response": right if follows else wrong,
            }
        )
    return rows


def hh_rows(first: int) -> list[Row]:
    rows = []
    for number in (first, first + 1, first + 2):
        prompt, right, wrong = ask(number)
        before = f"\n\nHuman: Hello.\n\nAssistant: Good day!\n\nHuman: {prompt}\n\nAssistant: "
        rows.append({"chosen": before + right, "rejected": before + wrong})
    return rows


def published(name: str) -> Files:
    """Give a benchmark's files, by their paths, with the rows of each."""
    makers: Mapping[str, Files] = {
        "rewardbench2": {"test-00000-of-00001.parquet": rewardbench2_rows()},
        "rewardbench": {"filtered-00000-of-00001.parquet": rewardbench_rows()},
        "rm-bench": {"total_dataset.json": rm_bench_rows()},
        "judgebench": {
            "gpt-00000-of-00001.jsonl": judgebench_rows("gpt-4o-2024-05-13", 0),
            "claude-00000-of-00001.jsonl": judgebench_rows("claude-3-5-sonnet-20240620", 7),
        },
        "ppe": {
            f"PPE-{of}-Best-of-K/train-00000-of-00001.parquet": ppe_rows(3 * place)
            for place, of in enumerate(("MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus"))
        },
        "rmb": {
            "Pairwise_set/Helpfulness/Chat/Discussion.json": rmb_pairs(
                "Helpfulness/Chat/Discussion", 0
            ),
            "Pairwise_set/Helpfulness/Open QA/Factual.json": rmb_pairs(
                "Helpfulness/Open QA/Factual", 2
            ),
            "Pairwise_set/Harmlessness/S1.json": rmb_pairs("Harmlessness/S1", 4),
            "BoN_set/Helpfulness/Open QA/Factual.json": rmb_groups(
                "Helpfulness/Open QA/Factual", 6
            ),
            "BoN_set/Harmlessness/S1.json": rmb_groups("Harmlessness/S1", 8),
        },
        "llmbar": {
            f"{subset}/dataset.json": llmbar_rows(3 * place)
            for place, subset in enumerate(("Natural", "Neighbor", "GPTInst", "GPTOut", "Manual"))
        },
        "m-ifeval": {
            f"{language}_input_response_data_{model}/eval_results_strict.jsonl": m_ifeval_rows(
                followed
            )
            for language in ("es", "fr")
            for model, followed in (
                ("one", (True, True, False)),
                ("two", (False, True, True)),
            )
        },
        "hh-rlhf": {
            "helpful-base/test.jsonl.gz": hh_rows(0),
            "harmless-base/test.jsonl.gz": hh_rows(3),
        },
    }
    return makers[name]


NAMES = (
    "rewardbench2",
    "rewardbench",
    "rm-bench",
    "judgebench",
    "ppe",
    "rmb",
    "llmbar",
    "m-ifeval",
    "hh-rlhf",
)


def write(folder: Path, files: Files) -> list[Path]:
    """Write files with their rows, each in the format that its name says."""
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif path.suffix == ".json":
            path.write_text(json.dumps(rows, indent=1))
        else:
            lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
            path.write_bytes(gzip.compress(lines, mtime=0) if path.suffix == ".gz" else lines)
    return [folder / name for name in files]


if __name__ == "__main__":
    for benchmark in NAMES:
        for written in write(Path(sys.argv[1]) / benchmark, published(benchmark)):
            print(written)
