"""`mutual-taught doctor` on a judge: its key and its server, before a run needs them."""

from typing import Any

import pytest

from mutual_taught.config import params
from mutual_taught.config.blocks import Params
from mutual_taught.planning import doctor_judge
from tests import project
from tests.judge_server import serving


def asked(address: str, **changes: Any) -> Params:
    values = params.read(project.ROOT / "presets" / "tiny.yaml")
    place = {**values["judge"]["endpoint"], "base_url": address, **changes}
    judge = {**values["judge"], "endpoint": place}
    policy = {**values["select_policy"], "judge": "openai", "judge_model": "a-judge"}
    return params.validate({**values, "judge": judge, "select_policy": policy})


def test_without_a_judge_nothing_is_looked_at() -> None:
    values = params.validate(params.read(project.ROOT / "presets" / "tiny.yaml"))
    assert list(doctor_judge.checks(values)) == []


def test_a_judge_that_is_there_answers_and_one_that_is_gone_does_not() -> None:
    with serving() as server:
        settings = asked(server.address, key_variable=None)
        (check,) = doctor_judge.checks(settings)
        assert (check.found, check.fault) == (f"{server.address} answers", "")
    (check,) = doctor_judge.checks(settings)
    assert "look whether the server is up" in check.fault
    assert server.requests == 0  # no verdict was asked for


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (check,) = doctor_judge.checks(asked("http://127.0.0.1:9/v1"))
    assert "OPENAI_API_KEY is not set in the environment" in check.fault
