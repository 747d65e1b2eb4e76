"""Train: the loss on the answer's tokens, batches of similar length, and `train()`.

Notebook 08 teaches it; notebooks, experiments and the command line call it. The loss of a batch is the mean of
-log p(token | everything before it) over its *answer* tokens.
"""

import json
import math
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate.utils import gather
from peft import LoraConfig, PeftModel, TaskType
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import Sampler
from torch.utils.hooks import RemovableHandle
from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints, sort_checkpoints

from lorautils import processes, rank, release_memory
from lorautils.data import IGNORED, Pair, collate, encode
from lorautils.lora import PROJECTIONS

BEST = "best.safetensors"  # beside the checkpoints
SummedLoss = Callable[[nn.Module, dict[str, torch.Tensor]], torch.Tensor]  # (model, batch) -> a sum over its tokens


def lora_config() -> LoraConfig:
    """Return the configuration that the course trains with; notebook 07 explains each argument."""
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules=PROJECTIONS,
        inference_mode=False,
        r=8,
        lora_alpha=32,
        lora_dropout=0.1,
    )


def answer_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the cross-entropies (nats) of the answer tokens of a batch, as a scalar."""
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)  # position t predicts token t + 1, the last nothing
    keep = labels != IGNORED  # (batch, tokens)
    bare = getattr(model, "module", model)  # DistributedDataParallel keeps the model in .module
    with rows_only(bare.get_output_embeddings(), keep):  # the largest matrix of a small model
        logits = model(**read_by_model(batch)).logits[0]
    return F.cross_entropy(logits.float(), labels[keep], reduction="sum")


def read_by_model(batch: dict[str, torch.Tensor], width: int | None = None) -> dict[str, torch.Tensor | bool]:
    """Return the first `width` columns of what a model reads of a batch, all but its labels.

    Packed rows need it without a cache: with one, transformers does not look where positions begin anew.
    """
    packed = {"use_cache": False} if "position_ids" in batch else {}
    return {name: rows[:, :width] for name, rows in batch.items() if name != "labels"} | packed


def rows_only(module: nn.Module, keep: torch.Tensor) -> RemovableHandle:
    """In `with rows_only(module, keep)` the module sees only the rows that `keep`, a (batch, tokens) mask, selects."""
    return module.register_forward_pre_hook(lambda module, inputs: (kept_rows(inputs[0], keep), *inputs[1:]))


def kept_rows(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Return the selected rows of x (batch, tokens, n), as (1, kept, n).

    They are counted from the right: prompt tuning puts its own tokens before the text.
    """
    return x[:, -keep.shape[1] :][keep][None]


@contextmanager
def plain_loss(model: nn.Module) -> Iterator[SummedLoss]:
    """Yield `answer_loss`: what `train` uses where no other `loss` is handed in."""
    yield answer_loss


class LengthSortedSampler(Sampler[int]):
    """Draw batches of similar length in random order; seed and epoch alone decide which.

    A row of a batch is padded to the longest one, so equal lengths waste nothing. A little noise on the lengths lets
    an example meet other neighbours in every epoch. With `fill`, the index `len(lengths)`, a row without loss,
    completes the last batch, so that processes can share it.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, fill: bool = False):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.filling = [len(lengths)] * (-len(lengths) % batch_size) if fill else []

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + len(self.filling)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}, {self.epoch}")
        order = sorted(range(len(self.lengths)), key=lambda index: self.lengths[index] + rng.uniform(0, 4))
        whole = len(order) - len(order) % self.batch_size
        batches = [order[start : start + self.batch_size] for start in range(0, whole, self.batch_size)]
        rng.shuffle(batches)
        return chain(*batches, order[whole:], self.filling)


class AnswerTrainer(Trainer):
    """The Trainer of transformers with batches of similar length, and losses that are means over answer tokens."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the answer tokens; the Trainer shall not divide again
    summed_loss = staticmethod(answer_loss)
    best: dict[str, torch.Tensor] | None = None  # what trains, when the held-out loss was lowest

    def _get_train_sampler(self, train_dataset=None) -> Sampler[int]:
        several = self.args.world_size > 1
        features = self.train_dataset[:-1] if several else self.train_dataset  # but the one that fills the last batch
        lengths = [len(feature["input_ids"]) for feature in features]
        return LengthSortedSampler(lengths, self.args.train_batch_size, self.args.seed, fill=several)

    def _get_num_items_in_batch(self, batch_samples, device) -> torch.Tensor:
        """Return the mean number of answer tokens a process in a step, which can take several batches."""
        answer_tokens = sum((batch["labels"][:, 1:] != IGNORED).sum() for batch in batch_samples)
        return self.accelerator.reduce(answer_tokens.to(device).float(), reduction="mean")

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this batch's and process's part of the mean cross-entropy per answer token of the step.

        The parts of batches are added up, and those of processes averaged, as their gradients are. So each sum is
        divided by the step's answer tokens a process: the result is the mean however the tokens fell.
        """
        return self.summed_loss(model, inputs) / num_items_in_batch

    def go_on(self, checkpoint: Path | None, patience: int | None) -> None:
        """Train, from a checkpoint if there is one; give the model the best state, where that is kept."""
        if checkpoint and self.args.metric_for_best_model and (best := checkpoint.with_name(BEST)).is_file():
            self.best = load_file(best)
        if checkpoint and patience and _looks_in_vain(checkpoint) >= patience:
            self._load_from_checkpoint(str(checkpoint))  # it had ended early
        else:
            self.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        if self.best:
            self.model.load_state_dict(self.best, strict=False)

    def evaluate(self, *_, **__) -> dict[str, float]:
        """Measure the loss on the held-out batches, and keep the best state if that is asked for.

        With an output folder that state is a file as well, so that a run that is resumed knows it.
        """
        loss = held_out_loss(self.model, self.eval_dataset)
        lowest = math.inf if self.state.best_metric is None else self.state.best_metric
        if self.args.metric_for_best_model and loss < lowest:
            trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
            self.best = {name: torch.clone(p.detach()).contiguous() for name, p in trained}
            if self.args.should_save and self.args.save_strategy != "no":
                part = Path(self.args.output_dir, f"{BEST}.part")  # a run that is killed here leaves the file whole
                save_file(self.best, part)
                part.replace(part.with_suffix(""))
        metrics = {"eval_loss": loss}
        self.log(dict(metrics))  # for whoever `report_to` names
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_rng_state(self, output_dir) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # the file that the first process writes next says that all are there

    def save_model(self, output_dir=None, _internal_call=False):
        """Write the model; of a sharded one with an adapter, gather the adapter alone."""
        if isinstance(self.model, PeftModel) and isinstance(self.model, FSDPModule):
            save_adapter(self.model, output_dir)
        else:
            super().save_model(output_dir, _internal_call)


@dataclass
class History:
    """What a training run did: one loss (nats per answer token) and one learning rate a step.

    Of a run that was resumed, losses, rates and seconds are those since then; steps, tokens and looks are those of all.
    `trained_tokens` counts prompts and answers. `held_out` holds (step, loss in nats per answer token) for each look at
    the pairs that were not trained on.
    `interrupted` is the signal that ended it, 0 for none.
    `wrapper` is the class that the model was trained in: DistributedDataParallel, or FSDP's, if `processes` shared it.
    """

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    total_steps: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    interrupted: int = 0
    processes: int = 1
    wrapper: str = ""


def train(
    model: nn.Module,
    tokenizer,
    pairs: Sequence[Pair],
    *,
    epochs: float = 3,
    batch_size: int = 8,
    gradient_accumulation_steps: int = 1,
    learning_rate: float = 2e-3,
    loss: Callable[[nn.Module], AbstractContextManager[SummedLoss]] = plain_loss,
    optimizer: torch.optim.Optimizer | None = None,
    held_out: Sequence[Pair] = (),
    held_out_steps: int | None = None,
    keep_best: bool = False,
    patience: int | None = None,
    seed: int = 0,
    output_dir: str | Path | None = None,
    save_steps: int | None = None,
    resume: bool = False,
    report_to: str = "none",
    bf16: bool = False,
    gradient_checkpointing: bool = False,
    progress: bool = True,
) -> History:
    """Train the parameters of `model` that require a gradient, on the completions of `pairs`.

    AdamW without weight decay, gradient clipping at 1.0, a tenth of the steps as warm-up and then a cosine to zero.
    It runs where the model is: on the CPU, or on the GPU that you have moved it to. `seed` seeds all that is random.

    Args:
        gradient_accumulation_steps: batches whose gradients are added up for one step, as if they were one batch.
        loss: a function with @contextmanager, entered once with the model. It yields summed(model, batch): the sum of
            the losses of a batch's answer tokens, which the step divides by their number. The model that it is called
            with may be wrapped, so use that one; the batch holds input_ids, attention_mask and labels (batch, tokens),
            where position t - 1 predicts labels[:, t]. `plain_loss` is the shortest, `scaling.fused.loss` a faster one.
        optimizer: takes AdamW's place, as LoRA+'s does, and brings its own learning rates.
        held_out: pairs whose `answer_loss` is measured once an epoch, or every `held_out_steps`, into the history.
            `keep_best` gives the model, at the end, the state in which that loss was lowest; `patience` does so too,
            and ends the run after so many looks in a row that found no lower one.
        output_dir: where a checkpoint, an adapter for PEFT with the optimiser's state, is written once an epoch or
            every `save_steps`, and after Ctrl-C or SIGTERM, which end the run after the current step; the last two
            stay. `resume` goes on from the last, to the same end as if nothing had happened.
        report_to: a logger by the name that transformers has for it, such as tensorboard; it gets the folder's name.
        bf16: bf16 autocast, a gain on GPUs, many times slower on CPUs without such instructions.
        gradient_checkpointing: keep the input of each layer only and compute the layer again: less memory, more time.

    Under torchrun or `accelerate launch`, the processes share each batch: the same batches and the same losses as in
    one process, apart from dropout's masks. A model that `fully_shard` has sharded is trained without checkpoints.
    """
    _check(model, epochs, output_dir)
    if save_steps and not output_dir:
        raise ValueError(f"save_steps={save_steps} needs a folder to write to: give output_dir=")
    if (keep_best or held_out_steps or patience) and not held_out:
        raise ValueError(
            "keep_best, held_out_steps and patience need pairs to look at, not in training: give held_out="
        )
    checkpoint = _starting_point(output_dir, resume)
    features = encode(tokenizer, pairs)  # input_ids and labels, which are -100 where no loss is
    tokens_per_epoch = sum(len(feature["input_ids"]) for feature in features)
    arguments = _arguments(
        model,
        output_dir,
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        learning_rate=learning_rate,
        seed=seed,
        bf16=bf16,
        activation_checkpointing=gradient_checkpointing,
        eval_strategy="steps" if held_out_steps else "epoch" if held_out else "no",
        eval_steps=held_out_steps,
        metric_for_best_model="loss" if keep_best or patience else None,
        save_strategy="no" if not output_dir else "steps" if save_steps else "epoch",
        save_steps=save_steps or 0,
        report_to=report_to,
        run_name=output_dir and Path(output_dir).resolve().name,
    )
    history = History(processes=arguments.world_size)
    if history.processes > 1:
        filler = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED, "position_ids": 0}
        features.append({name: [filler[name]] for name in features[0]})  # fills the last batch
    if isinstance(model, FSDPModule):
        model.is_distributed_loading_by_transformers = True  # so that the Trainer does not wrap it again
    bar = _Progress(history, show=progress and arguments.process_index == 0)
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        train_dataset=features,
        eval_dataset=batches_of(tokenizer, held_out),
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        callbacks=[bar, *([EarlyStoppingCallback(patience)] if patience else [])],
        optimizers=(optimizer, None),
    )
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    with bar.running(), loss(model) as summed:
        trainer.summed_loss = summed
        trainer.go_on(checkpoint, patience)
    history.seconds = time.perf_counter() - start
    history.wrapper = type(trainer.model_wrapped).__name__
    history.trained_tokens = round(epochs * tokens_per_epoch * history.steps / max(history.total_steps, 1))
    kept = "has the state of its best look" if trainer.best else "keeps what it learned"
    del trainer
    release_memory()
    if history.interrupted and arguments.process_index == 0:
        _say_how_to_go_on(history, kept, output_dir)
    return history


def _say_how_to_go_on(history: History, kept: str, output_dir: str | Path | None) -> None:
    again = f"To go on: train(..., output_dir={str(output_dir)!r}, resume=True)."
    then = again if output_dir else "It is in memory only, since no output_dir was given."
    print(f"Stopped after step {history.steps} of {history.total_steps}. The model {kept}.", then)


def _check(model: nn.Module, epochs: float, output_dir: str | Path | None) -> None:
    if epochs <= 0:
        raise ValueError(
            f"epochs was {epochs}, expected how often each pair is seen, such as 3, or 0.5 for half of them"
        )
    if output_dir and isinstance(model, FSDPModule):
        raise ValueError("a model that fully_shard has sharded is trained without checkpoints: leave output_dir out")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "no parameter of the model requires a gradient, so there is nothing to train: wrap it with "
            "get_peft_model, or load the adapter with is_trainable=True"
        )


def _starting_point(output_dir: str | Path | None, resume: bool) -> Path | None:
    """Return the checkpoint to go on from; None for a new run, which must not meet an older one's checkpoints."""
    if resume and output_dir is None:
        raise ValueError("resume=True needs the output_dir of the run that it resumes, got None")
    last = last_checkpoint(output_dir) if output_dir else None
    if resume and last is None:
        raise FileNotFoundError(f"{output_dir} holds no complete checkpoint: start the run without resume")
    if last and not resume:
        raise FileExistsError(
            f"{output_dir} holds the checkpoints of an earlier run, and this one would mix its own with them: go on "
            "with that run, resume=True, or name a new folder"
        )
    return last


def last_checkpoint(output_dir: str | Path) -> Path | None:
    """Return the newest complete checkpoint in a folder: its last file is whole, although runs can be killed."""
    for folder in reversed(sort_checkpoints(str(output_dir))):
        with suppress(OSError, ValueError):
            json.loads(Path(folder, TRAINER_STATE_NAME).read_text(encoding="utf-8"))
            return Path(folder)
    return None


def _looks_in_vain(checkpoint: Path) -> int:
    """Return how many looks in a row had found no lower held-out loss, when a checkpoint was written."""
    state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    stopper = state["stateful_callbacks"].get("EarlyStoppingCallback")
    return stopper["attributes"]["early_stopping_patience_counter"] if stopper else 0


def _arguments(model: nn.Module, output_dir: str | Path | None, **chosen) -> TrainingArguments:
    """Return the Trainer's arguments: those that were `chosen`, and what this course always does."""
    arguments = TrainingArguments(
        output_dir=str(output_dir or tempfile.gettempdir()),  # where nothing is saved; None makes a folder here
        warmup_steps=0.1,  # a share of all steps
        lr_scheduler_type="cosine",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show a loss that is no number as 0.0
        restore_callback_states_from_checkpoint=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        accelerator_config={"split_batches": True},  # several processes share each batch
        ddp_find_unused_parameters=False,
        use_cpu=not uses_accelerator(model),
        **chosen,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # or one process would split its batches over all GPUs (DataParallel)
    if processes() != arguments.world_size:
        raise ValueError(
            f"{processes()} processes were launched, but this one works with {arguments.world_size}, so they "
            "would train apart: launch with torchrun, or with accelerate launch and one of the files in configs/"
        )
    return arguments


class _Progress(TrainerCallback):
    """A progress bar, the history, and a first Ctrl-C or SIGTERM that ends the run after the current step."""

    def __init__(self, history: History, show: bool):
        self.history, self.show, self.bar, self.save = history, show, tqdm(disable=True), False

    def on_train_begin(self, args, state, control, **kwargs):
        self.history.total_steps = state.max_steps
        self.history.held_out = [(log["step"], log["eval_loss"]) for log in state.log_history if "eval_loss" in log]
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", disable=not self.show)

    def on_epoch_begin(self, args, state, control, train_dataloader, **kwargs):
        # The Trainer's own call does not reach the sampler of several processes that go on within an epoch.
        train_dataloader.set_epoch(int(state.epoch or 0))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.history.loss.append(logs["loss"])
            self.history.learning_rate.append(logs["learning_rate"])
            self.bar.set_postfix(loss=f"{logs['loss']:.2f}", refresh=False)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.history.held_out.append((state.global_step, metrics["eval_loss"]))

    def on_step_end(self, args, state, control, **kwargs):
        self.history.steps = state.global_step
        self.bar.update(1)
        if self.history.processes > 1:  # all of them end after the same step
            told = torch.tensor(self.history.interrupted, device=args.device)
            self.history.interrupted = gather(told[None]).max().item()
        control.should_training_stop |= bool(self.history.interrupted)
        self.save = False
        if control.should_training_stop or state.epoch.is_integer():  # what is saved waits for a last look
            self.save, control.should_save = control.should_save or bool(self.history.interrupted), False

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.history.interrupted and not state.epoch.is_integer():
            control.should_evaluate = False  # it is not yet the look of this epoch
        control.should_save |= self.save and args.save_strategy != "no"

    def on_save(self, args, state, control, **kwargs):
        if args.should_save:  # by step: the Trainer's own rule goes by time, and a clock set back costs the newest
            rotate_checkpoints(args.output_dir, save_total_limit=2)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Close the bar at the end, and turn Ctrl-C and SIGTERM into a request to stop; a second Ctrl-C interrupts.

        Several processes leave Ctrl-C to their launcher, which tells each of them.
        """
        listened = [signal.SIGTERM] if self.history.processes > 1 else [signal.SIGINT, signal.SIGTERM]
        if threading.current_thread() is not threading.main_thread():
            listened = []
        previous = {each: signal.getsignal(each) for each in listened}

        def request_stop(signum, frame):
            self.history.interrupted = int(signum)
            if signum == signal.SIGINT:
                signal.signal(signum, previous[signum])

        for each in listened:
            signal.signal(each, request_stop)
        try:
            yield
        finally:
            self.bar.close()
            for each, handler in previous.items():
                signal.signal(each, handler)


def batches_of(tokenizer, pairs: Sequence[Pair], size: int = 32) -> list[dict[str, torch.Tensor]]:
    """Return pairs as batches of similar length."""
    features = sorted(encode(tokenizer, pairs), key=lambda row: len(row["input_ids"])) if pairs else []
    starts = range(0, len(features), size)
    return [collate(features[start : start + size], tokenizer.pad_token_id) for start in starts]


@torch.no_grad()
def held_out_loss(model: nn.Module, batches: Sequence[dict[str, torch.Tensor]]) -> float:
    """Return the mean cross-entropy (nats per answer token) over batches, without dropout.

    The random state stays as it was, and so does a training that goes on afterwards.
    """
    was_training, device = model.training, next(model.parameters()).device
    total, tokens = 0.0, 0
    model.eval()
    with torch.random.fork_rng():
        for batch in batches:
            total += answer_loss(model, {name: tensor.to(device) for name, tensor in batch.items()}).item()
            tokens += (batch["labels"][:, 1:] != IGNORED).sum().item()
    model.train(was_training)
    return total / tokens


def save_adapter(model: PeftModel, folder: str | Path) -> bool:
    """Write the adapter as plain files for PEFT. Only the first process writes; the result says whether this is it.

    All processes must call this: a sharded adapter is put together first, while the frozen base stays in its shards.
    """
    whole = None  # what PEFT saves anyway
    if isinstance(model, FSDPModule):
        whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, ignore_frozen_params=True))
    if first := rank() == 0:
        model.save_pretrained(folder, state_dict=whole)
    return first


def uses_accelerator(model: nn.Module | None = None) -> bool:
    """Say whether to train on GPUs: one process by itself if its model is there, several if each has one of its own."""
    if processes() == 1 and model is not None:
        return next(model.parameters()).device.type != "cpu"
    return torch.accelerator.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", processes()))
