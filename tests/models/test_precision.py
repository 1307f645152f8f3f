"""The number format of forward passes: what the machine computes fast, unless the user says."""

import pytest
import torch

from mutual_taught.config import params
from mutual_taught.config.blocks import Engine
from mutual_taught.models import precision
from tests.project import ROOT

ENGINE = params.load(Engine, path=ROOT / "presets" / "laptop.yaml")


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, "float32"),
        ({"avx512_f": True}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, "bfloat16"),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_is_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, object], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert ENGINE.dtype == "auto"
    assert precision.settle(ENGINE).dtype == expected


def test_a_slow_choice_is_kept_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, "fast_dtype", lambda: "float32")
    chosen = ENGINE.model_copy(update={"dtype": "bfloat16"})
    assert precision.settle(chosen) == chosen
    assert capsys.readouterr().err.startswith("engine.dtype is bfloat16; this machine is not")


def test_a_choice_of_float32_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "fast_dtype", lambda: "bfloat16")
    assert precision.settle(ENGINE.model_copy(update={"dtype": "float32"})).dtype == "float32"
