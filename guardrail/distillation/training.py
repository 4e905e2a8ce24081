"""Lessons -> a LoRA adapter: supervised fine-tuning by trl, or an objective on the labels' probabilities. The third stage.

The base model is as it was afterwards. Needs the extra `distill`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from guardrail.distillation.adapting import adapted
from guardrail.distillation.labels import Labels
from guardrail.distillation.lessons import Lesson, Question
from guardrail.distillation.settings import Objective, Training
from guardrail.distillation.tails import collated_replies, collated_tails, taught_labels_loss, taught_replies_loss
from guardrail.errors import DataError, MissingExtraError
from guardrail.waiting import seconds_since

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.runs.progress import Say

CHECKPOINTS, UNFINISHED = "checkpoints", "unfinished"
EXTRA = 'distillation needs peft, trl and datasets: pip install "hybridgrad-guardrail[distill]"'
_SAVED_EVERY = 50  # steps


def require_extra() -> None:
    """Raise `MissingExtraError` where peft, trl or datasets is not installed."""
    try:
        import datasets  # noqa: F401
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"{EXTRA} ({error})") from error


def train_lessons(
    local: LocalModel,
    lessons: Sequence[Lesson],
    folder: Path,
    training: Training,
    invocation: Sequence[int] | None,
    base: str,
    say: Say,
    resume: bool,
) -> float:
    """Teach the replies by likelihood, and save the adapter below `folder`, for `finish`.

    invocation: the token ids from which on the adapter is active; None makes it a part of the model. base: what peft is to find
    the base model under. resume: go on from the last checkpoint there. Returns the loss of the last steps, nats a token.
    """
    require_extra()
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class TurnTrainer(SFTTrainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            return taught_replies_loss(local, model, inputs)

    rows = [
        {
            "input_ids": [*one.prompt, *one.reply],
            "labels": [-100] * (len(one.prompt) + one.given) + list(one.reply[one.given :]),
        }
        for one in lessons
    ]
    shown, more, kind = rows, {}, SFTTrainer
    if invocation is not None:
        turn = invocation

        def collated(batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
            return collated_replies(batch, turn, local.pad_id, split=local.anatomy.cached)

        shown = [{"prompt": list(one.prompt), "reply": list(one.reply)} for one in lessons]
        more, kind = {"data_collator": collated}, TurnTrainer
    with adapted(local, training, invocation) as model:
        config = SFTConfig(
            **_arguments(local, folder, training),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            remove_unused_columns=invocation is None,
        )
        trainer = kind(
            model, config, train_dataset=Dataset.from_list(shown), processing_class=local.tokenizer,
            callbacks=[_progress(say)], **more,
        )  # fmt: skip
        return _run(trainer, folder, base, _made_from(local, training, invocation, rows), resume)


def train_labels(
    local: LocalModel,
    questions: Sequence[Question],
    labels: Labels,
    objective: Objective,
    folder: Path,
    training: Training,
    invocation: Sequence[int],
    base: str,
    say: Say,
    resume: bool,
) -> float:
    """As `train_lessons`, by one of the objectives on the labels' probabilities, against right or wrong or a probability."""
    require_extra()
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    class LabelsTrainer(Trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            return taught_labels_loss(local, model, inputs, labels, objective)

    rows = [{"prompt": list(one.prompt), "right": one.right} for one in questions]

    def collated(batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return collated_tails(batch, labels, invocation, local.pad_id, split=local.anatomy.cached)

    with adapted(local, training, invocation) as model:
        trainer = LabelsTrainer(
            model,
            TrainingArguments(**_arguments(local, folder, training), remove_unused_columns=False),
            train_dataset=Dataset.from_list(rows),
            data_collator=collated,
            callbacks=[_progress(say)],
        )
        about = [*rows, labels.tokens, labels.middles, objective]
        return _run(trainer, folder, base, _made_from(local, training, invocation, about), resume)


def _arguments(local: LocalModel, folder: Path, training: Training) -> dict[str, Any]:
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "seed": training.seed,
        "save_steps": _SAVED_EVERY,
        "save_total_limit": 1,
        "logging_steps": 10,
        "logging_first_step": True,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": local.device.type == "cpu",
        "bf16": False,
        "dataloader_pin_memory": False,
        "log_level": "error",
        _checkpointing(): False,
    }


def _checkpointing() -> str:
    """The option that saves memory for time, and trl would set: renamed in transformers 5.23."""
    from transformers import TrainingArguments

    new = "activation_checkpointing"
    return new if new in TrainingArguments.__dataclass_fields__ else "gradient_checkpointing"


def _run(trainer: Any, folder: Path, base: str, made_from: str, resume: bool) -> float:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # stdout is for results
    trainer.train(resume_from_checkpoint=_begun(folder / CHECKPOINTS, made_from, resume))
    for config in trainer.model.peft_config.values():
        config.base_model_name_or_path = base
    trainer.model.save_pretrained(folder / UNFINISHED)
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return losses[-1] if losses else float("nan")


def _begun(checkpoints: Path, made_from: str, resume: bool) -> str | None:
    """The checkpoint to go on from; None begins anew. Raises `DataError` for those of another training."""
    mark = checkpoints / "made_from.json"
    known = mark.read_text(encoding="utf-8") if mark.is_file() else None
    if resume and known is not None and known != made_from:
        raise DataError(
            f"{checkpoints} holds checkpoints of another training (other answers, options or weights); give the same "
            "options, or delete it to train anew"
        )
    if not resume or known is None:
        shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.mkdir(parents=True, exist_ok=True)
    mark.write_text(made_from, encoding="utf-8")
    whole = [
        path for path in checkpoints.glob("checkpoint-*") if (path / "trainer_state.json").is_file()
    ]  # written last
    for path in set(checkpoints.glob("checkpoint-*")) - set(whole):
        shutil.rmtree(path)
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def _made_from(local: LocalModel, training: Training, invocation: Sequence[int] | None, rows: Sequence[Any]) -> str:
    """What a training is about: its checkpoints are for no other."""
    about = [local.identity.weights, training.to_dict(), list(invocation or ()), rows]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def unwritten(error: Exception) -> str | None:
    """Why a file of a training could not be written, in words; None for an error of another kind.

    A full disk is an OSError of the system's, a RuntimeError of torch's, or an error of safetensors' own, which is neither.
    """
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    if isinstance(error, OSError):
        return str(reason)
    told = re.search(r"writ|(?<!de)seriali|inline_container|os error", reason)
    return reason if isinstance(error, RuntimeError | SafetensorError) and told else None


def finish(folder: Path) -> None:
    """Put the trained adapter in its place; the config last, since a folder with one is a model."""
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / UNFINISHED / name).replace(folder / name)
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _progress(say: Say) -> Any:
    from transformers import TrainerCallback

    class Lines(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.began, self.first = time.perf_counter(), state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            done = state.global_step - self.first
            if logs and "loss" in logs and done:
                left = seconds_since(self.began) / done * (state.max_steps - state.global_step)
                loss = float(logs["loss"])
                say(f"training: step {state.global_step} of {state.max_steps}, loss {loss:.3f}, {left:.0f} s left")

    return Lines()
