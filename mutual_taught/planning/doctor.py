"""A look at everything a run needs, before it runs."""

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import psutil
import torch

from mutual_taught.checks import folder_checks, preflight
from mutual_taught.checks.check import Check
from mutual_taught.checks.folder_checks import Kind
from mutual_taught.checks.rewards import compare_reward_model
from mutual_taught.config import blocks, inputs, params
from mutual_taught.errors import MutualTaughtError
from mutual_taught.models.load import load_config, load_policy, load_reward_model, load_tokenizer
from mutual_taught.planning import doctor_judge, doctor_machine, hub
from mutual_taught.planning.doctor_machine import Note
from mutual_taught.prepare import base_models
from mutual_taught.sampling.agreement import require_sampling

PACKAGES = ("dvc", "torch", "transformers", "trl", "datasets", "pyarrow")
LOADERS: dict[Kind, Callable[[Path], Iterator[Check]]] = {
    "policy": lambda folder: preflight.policy(load_policy(folder, "bfloat16")),
    "reward_model": lambda folder: preflight.reward_model(load_reward_model(folder, "float32")),
}


def examine(run: Path) -> Iterator[Check | Note]:
    """Check the machine, params.yaml, and the models of iteration 0 if they are prepared."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Check("packages", versions, "")
    yield _device()
    yield from doctor_machine.tools()
    yield (values := _params())
    if not values.fault:
        settings = params.validate(params.read(params.PARAMS))
        yield from doctor_machine.checks(settings)
        yield from hub.checks(settings)
        yield from doctor_judge.checks(settings)
    for name in LOADERS:
        folder = run / "0" / name
        if folder.exists():
            yield from _model(name, folder)
        else:
            yield Check(str(folder), f"not there yet (dvc repro prepare_{name} makes it)", "")
            if not values.fault:
                yield from _source(name)


def _source(name: Kind) -> Iterator[Check]:
    """Check a model in the folder that params.yaml names, before it is copied."""
    try:
        named, limits = params.load(inputs.Models), params.load(blocks.Tokens)
        model = named.policy if name == "policy" else named.reward_model
        if model.source == "path":
            for check in base_models.checks(Path(model.path), name, limits):
                yield Check(f"{model.path}: {check.name}", check.found, check.fault)
    except MutualTaughtError as error:
        yield Check(f"models.{name}", "refused", str(error))


def _model(name: Kind, folder: Path) -> Iterator[Check]:
    """Check a model: its files first, then what shows only when it is loaded."""
    sound = True
    try:
        tokens = params.load(blocks.Tokens)
        for check in folder_checks.examine(folder, name, tokens.max_length):
            sound = sound and not check.fault
            yield Check(f"{folder}: {check.name}", check.found, check.fault)
        if not sound:
            return
        config = load_config(folder)
        rows = folder_checks.rows(load_tokenizer(folder), config)
        sight = preflight.sight(config, tokens.max_length)
        for check in chain(LOADERS[name](folder), [rows, sight]):
            sound = sound and not check.fault
            yield Check(f"{folder}: {check.name}", check.found, check.fault)
        if sound:
            yield _agreement(name, folder, tokens)
    except MutualTaughtError as error:
        yield Check(str(folder), "refused", str(error))


def _agreement(name: Kind, folder: Path, tokens: blocks.Tokens) -> Check:
    """Compare what is computed of a model with what transformers computes: some seconds, once."""
    if name == "policy":
        found = require_sampling(folder, tokens, params.load(blocks.Engine))
    else:
        found = compare_reward_model(folder, tokens)
    return Check(f"{folder}: as transformers computes it", found.said, "")


def _device() -> Check:
    memory = f"{psutil.virtual_memory().available / 2**30:.1f} GiB memory free"
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("device", f"{', '.join(cards)}; {memory}", "")
    threads = f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    return Check("device", f"{threads}; {memory}", "")


def _params() -> Check:
    try:
        checked = params.validate(params.read(params.PARAMS))
    except MutualTaughtError as error:
        return Check("params.yaml", "refused", str(error))
    return Check("params.yaml", f"in order, {len(checked.iterations)} iterations", "")
