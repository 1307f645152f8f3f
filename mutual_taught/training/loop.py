"""What DPO and reward training share: arguments, micro-batches, guards, resume, exports."""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mutual_taught.config.learning import Training
from mutual_taught.errors import InputError, TrainingError
from mutual_taught.terminal.progress import bar
from mutual_taught.training.packed import SHARDED
from mutual_taught.training.rounding import Weights

COMPLETE = "COMPLETE"
Export = Callable[[Any, Weights, int], None]


class Outcome(NamedTuple):
    """What a training run leaves: its logged steps, and the rewards of their pairs if any."""

    curve: list[dict[str, float]]
    steps: int
    pairs: list[tuple[int, list[tuple[str, float, float]]]]


def newest_complete(work: Path) -> str | None:
    """Find the last whole resumable checkpoint; half-written ones are deleted."""
    # transformers itself would take the newest folder, also one that a kill left half written.
    found: list[tuple[int, Path]] = []
    for path in (work / "trainer").glob("checkpoint-*"):
        if (path / COMPLETE).exists():
            found.append((int(path.name.split("-")[1]), path))
        else:
            shutil.rmtree(path)
    return str(max(found)[1]) if found else None


def forget_state(work: Path) -> None:
    """Delete the resumable checkpoints of a training that has ended: 12 bytes a weight each."""
    shutil.rmtree(work / "trainer", ignore_errors=True)


class Watch(TrainerCallback):  # type: ignore[misc]
    """Shows progress, stops at a gradient that is no number, marks and exports checkpoints."""

    def __init__(self, trainer: Any, steps: int, export_steps: int | None, export: Export) -> None:
        self.trainer, self.steps = trainer, steps
        self.export_steps, self.export = export_steps, export
        self.bar: tqdm[None] | None = None
        self.clock, self.tokens = 0.0, 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar where an interrupted run left it, in the first process."""
        if state.is_world_process_zero:
            self.bar = bar("training", self.steps, "step", state.global_step)
        self.clock, self.tokens = time.monotonic(), 0.0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Check the gradient's norm of the step just made, before anything of it is saved."""
        if logs and "loss" in logs:
            if not math.isfinite(logs.get("grad_norm", 0.0)):
                raise TrainingError(
                    f"step {state.global_step}: gradient norm is {logs['grad_norm']}; expected a "
                    "number; lower the learning rate"
                )
            if self.bar:
                self.bar.set_postfix_str(self._describe(logs), refresh=False)

    def _describe(self, logs: Mapping[str, float]) -> str:
        """Say the step's loss, accuracy and tokens a second."""
        now, tokens = time.monotonic(), logs["num_tokens"]
        rate = (tokens - self.tokens) / max(now - self.clock, 1e-9)
        self.clock, self.tokens = now, tokens
        accuracy = logs.get("rewards/accuracies", logs.get("accuracy", math.nan))
        return f"loss {logs['loss']:.4f}, accuracy {accuracy:.2f}, {rate:,.0f} tokens/s"

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Export a candidate where one is due, and always the last, which is not to be resumed."""
        if self.bar:
            self.bar.update()
        due = self.export_steps and state.global_step % self.export_steps == 0
        if due or state.global_step == state.max_steps:
            accelerator, model = self.trainer.accelerator, self.trainer.model_wrapped
            # Not only in the first process: of weights in shards each holds a part, and gathering
            # them waits for all.
            weights = accelerator.get_state_dict(model)
            if state.is_world_process_zero:
                self.export(accelerator.unwrap_model(model), weights, state.global_step)
            accelerator.wait_for_everyone()
        if state.global_step == state.max_steps:
            # What comes next is the outcome: a state to resume from would be 12 bytes a weight for
            # nothing.
            control.should_save = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark a resumable checkpoint as whole, once all processes have written their parts."""
        self.trainer.accelerator.wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # A pickle that nothing reads again: this process makes its own arguments.
        (folder / "training_args.bin").unlink(missing_ok=True)
        (folder / COMPLETE).touch()


def run_trainer(
    trainer: Any, work: Path, columns: Sequence[str], training: Training, watch: Watch
) -> Outcome:
    """Train to the end, from the newest whole checkpoint if there is one.

    Args:
        trainer: a TRL trainer.
        work: the stage's folder of work in progress.
        columns: what of each logged step goes into the curve.
        training: how many processes there are to be.
        watch: shows progress and exports.

    Raises:
        InputError: there are fewer processes, or more; an optimiser that cannot be in shards; a
            precision of accelerate's.
    """
    if (found := trainer.accelerator.num_processes) != training.processes:
        raise InputError(
            f"training.processes is {training.processes}; training.launcher {training.launcher} "
            f"made {found}; see docs/training.md for what runs on this machine"
        )
    kind = trainer.accelerator.distributed_type
    if training.optimizer == "adamw_8bit" and kind in SHARDED:
        raise InputError(
            f"training.optimizer is adamw_8bit; {training.accelerate_config} keeps weights in "
            "shards, whose moments are kept in 32 bits alone; say adamw"
        )
    if (found := trainer.accelerator.mixed_precision) != "no":
        raise InputError(
            f"{training.accelerate_config or 'ACCELERATE_MIXED_PRECISION'} says mixed_precision "
            f"{found}; expected none, because training.precision decides; remove it"
        )
    # It prints every log as a dict, between the lines of the bar.
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    try:
        trainer.train(resume_from_checkpoint=newest_complete(work))
    finally:
        if watch.bar:
            watch.bar.close()
    # A resumed training reads the log of its earlier steps from the checkpoint's state, so that the
    # curve and the pairs are whole, as if nothing had happened.
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    curve = [{name: entry[name] for name in columns if name in entry} for entry in history]
    pairs = [(int(entry["step"]), entry["pairs"]) for entry in history if "pairs" in entry]
    return Outcome(curve, int(trainer.state.global_step), pairs)
