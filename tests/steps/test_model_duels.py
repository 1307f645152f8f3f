"""A language model as the judge of a finished run's duels: asked once, verified from the table."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import e_step, provenance
from mutual_taught.audit.run import CheckedIteration, Run
from mutual_taught.config import params
from tests import in_process, project
from tests.audit.test_verify_whole import copy
from tests.judge_server import serving


def of_run(run: Path) -> CheckedIteration:
    params._parse.cache_clear()
    settings = params.validate(params.read(params.PARAMS))
    return CheckedIteration(Run(run, ["0", "1"]), "1", settings)


def faults(run: Path) -> list[str]:
    of = of_run(run)
    told = [*e_step.duels(of), *e_step.selected(of), *provenance.made_from(of)]
    return [str(fault) for fault in told if "1/duels" in str(fault) or "select" in str(fault)]


def test_a_model_judges_duels_once_and_verify_reads_what_it_said(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    run = copy(finished, tmp_path, monkeypatch)
    with serving() as server:
        for name, value in {
            "select_policy.judge": "openai",
            "select_policy.judge_model": "a-judge",
            "judge.endpoint.base_url": server.address,
            "judge.endpoint.key_variable": None,
        }.items():
            project.set_param(params.PARAMS, name, value)
        params._parse.cache_clear()
        (run / "1" / "duels.parquet").unlink()  # links into another test's run
        in_process.run_one("duel", "1")
        once = server.requests
        for made in ("decision.json", "metrics/select_policy.json"):
            (run / "1" / made).unlink()
        in_process.run_one("select_policy", "1")
        data = tables.read(run / "1" / "duels.parquet", tables.DUELS)
        texts = zip(*(data[n].to_pylist() for n in ("response", "previous_response")), strict=True)
        # The server's rule: the longer response; of equally long ones what is shown first, so even.
        expected = [0.5 + 0.5 * ((len(a) > len(b)) - (len(a) < len(b))) for a, b in texts]
        assert data["preference"].to_pylist() == data["outcome"].to_pylist() == expected
        assert files.read_json(run / "1/metrics/select_policy.json")["judged_by_model"] == 1.0
        (run / "1" / "duels.parquet").unlink()
        in_process.run_one("duel", "1")
        assert server.twice == []
        assert once > 0
    assert faults(run) == []  # the server is gone
    path = run / "1" / "duels.parquet"
    honest = tables.provenance(data)
    for change, said in ((swapped, "preference is"), (of_another, "expected a reply to this duel")):
        tables.write(path.parent, tables.DUELS, change(data), honest)
        assert any(said in line for line in faults(run)), said
    tables.write(path.parent, tables.DUELS, data, {**honest, "judge_model": "another"})
    assert any("judge_model is another; expected a-judge" in line for line in faults(run))


def swapped(data: pa.Table) -> pa.Table:
    """Have the judge say the other name in one reply."""
    return with_reply(data, lambda told: {**told, "text": "M" if told["text"] == "m" else "m"})


def of_another(data: pa.Table) -> pa.Table:
    """Give a duel the reply to another request."""
    return with_reply(data, lambda told: {**told, "key": "0" * 64})


def with_reply(data: pa.Table, change: object) -> pa.Table:
    assert callable(change)
    texts = data["reply"].to_pylist()
    row = next(n for n, text in enumerate(texts) if text)
    texts[row] = json.dumps(change(json.loads(texts[row])))
    place = data.schema.get_field_index("reply")
    return data.set_column(place, data.schema.field(place), pa.array(texts))
