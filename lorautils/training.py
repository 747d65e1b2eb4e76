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
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, TaskType
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.utils.data import Sampler
from tqdm.auto import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from lorautils import release_memory
from lorautils.data import IGNORED, Pair, collate, encode
from lorautils.lora import PROJECTIONS

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
    labels = batch["labels"][:, 1:]  # position t predicts token t + 1
    keep = F.pad(labels != IGNORED, (0, 1))  # (batch, tokens); the last position predicts nothing
    with answer_rows_only(model, keep):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return F.cross_entropy(logits.float(), labels[labels != IGNORED], reduction="sum")


@contextmanager
def answer_rows_only(model: nn.Module, keep: torch.Tensor) -> Iterator[None]:
    """Let the output head see only the rows that `keep`, a (batch, tokens) mask, selects.

    The head is the largest matrix of a small model. Inside this context it maps (kept, hidden) to (kept, vocabulary)
    instead of (batch, tokens, hidden) to (batch, tokens, vocabulary): one contiguous two-dimensional product.
    Prompt tuning puts its own tokens before the text; `keep` counts from the right.
    """
    bare = getattr(model, "module", model)  # DistributedDataParallel keeps the model in .module
    handle = bare.get_output_embeddings().register_forward_pre_hook(
        lambda head, inputs: (inputs[0][:, -keep.shape[1] :][keep], *inputs[1:])
    )
    try:
        yield
    finally:
        handle.remove()


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
    """The Trainer of transformers with batches of similar length, and the output head on answer tokens only."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the answer tokens; the Trainer shall not divide again
    summed_loss = staticmethod(answer_loss)

    def _get_train_sampler(self, train_dataset=None) -> Sampler[int]:
        # the row that fills the last batch of several processes is the one without loss
        lengths = [len(f["input_ids"]) for f in self.train_dataset if f["labels"][-1] != IGNORED]
        whole_batch = self.args.train_batch_size * self.args.world_size
        return LengthSortedSampler(lengths, whole_batch, self.args.seed, fill=self.args.world_size > 1)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this process's part of the mean cross-entropy per answer token of the step's batch.

        The parts are averaged over the processes, as their gradients are: each sum is divided by the mean number of
        answer tokens a process, so that the average is the mean over the whole batch however the tokens fell.
        """
        answer_tokens = (inputs["labels"][:, 1:] != IGNORED).sum()
        return self.summed_loss(model, inputs) / self.accelerator.reduce(answer_tokens.float(), reduction="mean")

    def save_model(self, output_dir=None, _internal_call=False):
        """Write the model; of a sharded one with an adapter, gather the adapter alone."""
        if isinstance(self.model, PeftModel) and isinstance(self.model, FSDPModule):
            save_adapter(self.model, output_dir)
        else:
            super().save_model(output_dir, _internal_call)


@dataclass
class History:
    """What a training run did: one loss (nats per answer token) and one learning rate a step.

    Of a run that was resumed, losses, rates and seconds are those since then; steps and tokens count from its start.
    `trained_tokens` counts prompts and answers. `held_out` holds (step, loss in nats per answer token) for each look at
    the pairs that were not trained on.
    `wrapper` is the class that the model was trained in: DistributedDataParallel, or FSDP's, if `processes` shared it.
    """

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    total_steps: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    processes: int = 1
    wrapper: str = ""

    def as_dict(self) -> dict:
        """Return plain data, ready for JSON."""
        return asdict(self)


def train(
    model: nn.Module,
    tokenizer,
    pairs: Sequence[Pair],
    *,
    epochs: float = 3,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    loss: Callable[[nn.Module], AbstractContextManager[SummedLoss]] = plain_loss,
    optimizer: torch.optim.Optimizer | None = None,
    held_out: Sequence[Pair] = (),
    held_out_steps: int | None = None,
    keep_best: bool = False,
    seed: int = 0,
    output_dir: str | Path | None = None,
    resume: bool = False,
    bf16: bool = False,
    gradient_checkpointing: bool = False,
    progress: bool = True,
) -> History:
    """Train the parameters of `model` that require a gradient, on the completions of `pairs`.

    AdamW without weight decay, gradient clipping at 1.0, a tenth of the steps as warm-up and then a cosine to zero.
    It runs where the model is: on the CPU, or on the GPU that you have moved it to. `seed` seeds all that is random.

    Args:
        loss: a function with @contextmanager, entered once with the model. It yields summed(model, batch): the sum of
            the losses of a batch's answer tokens, which the step divides by their number. The model that it is called
            with may be wrapped, so use that one; the batch holds input_ids, attention_mask and labels (batch, tokens),
            where position t - 1 predicts labels[:, t]. `plain_loss` is the shortest, `scaling.fused.loss` a faster one.
        optimizer: takes AdamW's place, as LoRA+'s does, and brings its own learning rates.
        held_out: pairs whose `answer_loss` is measured once an epoch, or every `held_out_steps`, into the history.
            `keep_best` gives the model, at the end, the state in which that loss was lowest.
        output_dir: where a checkpoint, an adapter for PEFT with the optimiser's state, is written once an epoch, and
            after Ctrl-C, which ends the run after the current step; the last two stay. `resume` goes on from the last.
        bf16: bf16 autocast, a gain on GPUs, many times slower on CPUs without such instructions.
        gradient_checkpointing: keep the input of each layer only and compute the layer again: less memory, more time.

    Under torchrun or `accelerate launch`, the processes share each batch: the same batches and the same losses as in
    one process, apart from dropout's masks. A model that `fully_shard` has sharded is trained without checkpoints.

    Raises:
        ValueError: nothing to train, no pairs, no epochs, `resume` without `output_dir`, `keep_best` or
            `held_out_steps` without `held_out`, `output_dir` with a sharded model, or processes that cannot share a
            batch.
        OSError: `resume` and no complete checkpoint, or one in `output_dir` and no `resume`.
    """
    _check(model, epochs, output_dir)
    checkpoint = _starting_point(output_dir, resume)
    features = encode(tokenizer, pairs)  # input_ids and labels, which are -100 where no loss is
    tokens_per_epoch = sum(len(feature["input_ids"]) for feature in features)
    arguments = _arguments(
        model,
        output_dir,
        batch_size,
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        bf16=bf16,
        activation_checkpointing=gradient_checkpointing,
    )
    history = History(processes=arguments.world_size)
    if history.processes > 1:
        features.append({"input_ids": [tokenizer.pad_token_id], "labels": [IGNORED]})  # fills the last batch
    if isinstance(model, FSDPModule):
        model.is_distributed_loading_by_transformers = True  # so that the Trainer does not wrap it again
    bar = _Progress(history, show=progress and arguments.process_index == 0)
    watch = _HeldOut(history, batches_of(tokenizer, held_out), held_out_steps, keep_best, output_dir)
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        train_dataset=features,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        callbacks=[bar, watch],
        optimizers=(optimizer, None),
    )
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    with closing(bar), bar.catch_interrupt(), loss(model) as summed:
        trainer.summed_loss = summed
        trainer.train(resume_from_checkpoint=checkpoint)
    watch.restore(model)
    history.seconds = time.perf_counter() - start
    history.wrapper = type(trainer.model_wrapped).__name__
    history.trained_tokens = round(epochs * tokens_per_epoch * history.steps / history.total_steps)
    del trainer
    release_memory()
    if history.interrupted:
        print(_interrupt_message(history, output_dir, keep_best))
    return history


def _check(model: nn.Module, epochs: float, output_dir: str | Path | None) -> None:
    if epochs <= 0:
        raise ValueError(
            f"epochs was {epochs}, expected how often each pair is seen, such as 3, or 0.5 for every second"
        )
    if output_dir and isinstance(model, FSDPModule):
        raise ValueError("a model that fully_shard has sharded is trained without checkpoints: leave output_dir out")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "no parameter of the model requires a gradient, so there is nothing to train: wrap it with "
            "get_peft_model, or load the adapter with is_trainable=True"
        )


def _starting_point(output_dir: str | Path | None, resume: bool) -> str | None:
    """Return the checkpoint to go on from; None for a new run, which must not meet an older one's checkpoints."""
    if resume and output_dir is None:
        raise ValueError("resume=True needs the output_dir of the run that it resumes, got None")
    if output_dir and not resume and checkpoints(output_dir):
        raise FileExistsError(
            f"{output_dir} holds the checkpoints of an earlier run, and this one would mix its own with them: go on "
            "with that run, resume=True, or name a new folder"
        )
    return str(last_checkpoint(output_dir)) if resume else None


def _arguments(model: nn.Module, output_dir: str | Path | None, batch_size: int, **chosen) -> TrainingArguments:
    """Return the Trainer's arguments: those that were `chosen`, and what this course always does."""
    arguments = TrainingArguments(
        output_dir=str(output_dir or tempfile.gettempdir()),  # where nothing is saved; None makes a folder here
        save_strategy="epoch" if output_dir else "no",
        warmup_steps=0.1,  # a share of all steps
        lr_scheduler_type="cosine",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show a loss that is no number as 0.0
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        use_cpu=not uses_accelerator(model),
        **chosen,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # or one process would split its batches over all GPUs (DataParallel)
    arguments.per_device_train_batch_size = _share(batch_size, arguments.world_size)
    return arguments


def _share(batch_size: int, processes: int) -> int:
    """Return how many examples of a batch each of the processes that work together gets."""
    if launched_processes() != processes:
        raise ValueError(
            f"{launched_processes()} processes were launched, but this one works with {processes}, so they would train "
            "apart: launch with torchrun, or with accelerate launch and one of the files in configs/"
        )
    if batch_size % processes:
        raise ValueError(
            f"batch_size {batch_size} cannot be shared by {processes} processes: give a multiple of {processes}"
        )
    return batch_size // processes


class _Progress(TrainerCallback):
    """A progress bar, the history, and a first Ctrl-C that ends the run after the current step."""

    def __init__(self, history: History, show: bool):
        self.history, self.show, self.bar = history, show, tqdm(disable=True)

    def on_train_begin(self, args, state, control, **kwargs):
        self.history.total_steps = state.max_steps
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", disable=not self.show)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.history.loss.append(logs["loss"])
            self.history.learning_rate.append(logs["learning_rate"])
            self.bar.set_postfix(loss=f"{logs['loss']:.2f}", refresh=False)

    def on_step_end(self, args, state, control, **kwargs):
        self.history.steps = state.global_step
        self.bar.update(1)
        if self.history.interrupted:
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"

    def on_save(self, args, state, control, **kwargs):
        if args.should_save:  # by step: the Trainer's own rule goes by time, and a clock set back costs the newest
            rotate_checkpoints(args.output_dir, save_total_limit=2)

    def close(self) -> None:
        """End the bar, also when an error has ended the training."""
        self.bar.close()

    @contextmanager
    def catch_interrupt(self) -> Iterator[None]:
        """Turn the first Ctrl-C into a request to stop; a second one interrupts at once, as usual.

        Not in one of several processes, which would stop after different steps and wait for one another.
        """
        if self.history.processes > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.getsignal(signal.SIGINT)

        def request_stop(signum, frame):
            self.history.interrupted = True
            signal.signal(signal.SIGINT, previous)

        signal.signal(signal.SIGINT, request_stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


class _HeldOut(TrainerCallback):
    """The loss on pairs that are not trained on, into the history, and the state in which it was lowest.

    With an output folder that state is a file as well, so that a run that is resumed knows it.
    """

    def __init__(self, history: History, batches: Sequence[dict], steps: int | None, keep: bool, output_dir):
        if (keep or steps) and not batches:
            raise ValueError(
                "keep_best and held_out_steps need pairs to look at: give held_out=, pairs not in training"
            )
        self.history, self.batches, self.steps, self.keep = history, batches, steps, keep
        self.file = Path(output_dir) / "best.safetensors" if output_dir and keep else None
        self.lowest, self.state = math.inf, {}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step and self.file and self.file.is_file():
            self.state = load_file(self.file)
            with safe_open(self.file, "pt") as saved:
                self.lowest = float(saved.metadata()["loss"])

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if self.steps and (state.global_step % self.steps == 0 or state.global_step == state.max_steps):
            self.look(model, state.global_step, writes=args.should_save)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if not (self.steps or self.history.interrupted):
            self.look(model, state.global_step, writes=args.should_save)

    def look(self, model: nn.Module, step: int, writes: bool) -> None:
        """Measure, and keep the parameters that train if the loss was never lower."""
        if not self.batches:
            return
        loss = held_out_loss(model, self.batches)
        self.history.held_out.append((step, loss))
        if not (self.keep and loss < self.lowest):
            return
        trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        self.lowest, self.state = loss, {name: torch.clone(p).contiguous() for name, p in trained.items()}
        if self.file and writes:
            part = self.file.with_suffix(".part")  # a run that is killed while it writes leaves the file whole
            save_file(self.state, part, metadata={"loss": repr(loss), "step": str(step)})
            part.replace(self.file)

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Give the parameters the values that they had when the loss was lowest."""
        for name, parameter in model.named_parameters():
            if name in self.state:
                parameter.copy_(self.state[name])


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


def checkpoints(output_dir: str | Path) -> dict[int, Path]:
    """Return the complete checkpoints in a folder, by step."""
    states = [state for state in Path(output_dir).glob("checkpoint-*/trainer_state.json") if _is_whole(state)]
    steps = {state.parent: state.parent.name.removeprefix("checkpoint-") for state in states}
    return {int(step): folder for folder, step in steps.items() if step.isdecimal()}  # no "checkpoint-50 copy"


def last_checkpoint(output_dir: str | Path) -> Path:
    """Return the newest complete checkpoint in a folder.

    Raises:
        OSError: there is none.
    """
    if complete := checkpoints(output_dir):
        return complete[max(complete)]
    raise FileNotFoundError(f"{output_dir} holds no complete checkpoint: train with resume=False")


def _is_whole(state: Path) -> bool:
    """Say whether a checkpoint's last file was written to its end."""
    try:
        return bool(json.loads(state.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _interrupt_message(history: History, output_dir: str | Path | None, best: bool) -> str:
    state = "has its best state so far" if best else "keeps what it has learned so far"
    message = f"Stopped after step {history.steps} of {history.total_steps}. The model {state}."
    if output_dir is None:
        return message + " It is in memory only, since no output_dir was given."
    return message + f" To go on: train(..., output_dir={str(output_dir)!r}, resume=True)."


def save_adapter(model: PeftModel, folder: str | Path) -> bool:
    """Write the adapter as plain files for PEFT. Only the first process writes; the result says whether this is it.

    All processes must call this: a sharded adapter is put together first, while the frozen base stays in its shards.
    """
    whole = None  # what PEFT saves anyway
    if isinstance(model, FSDPModule):
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        shards = {name: value for name, value in model.state_dict().items() if name in trained}
        whole = {name: v.full_tensor() if isinstance(v, DTensor) else v for name, v in shards.items()}
    first = int(os.environ.get("RANK", 0)) == 0
    if first:
        model.save_pretrained(folder, state_dict=whole)
    return first


def launched_processes() -> int:
    """Return how many processes torchrun or accelerate launch started for this run; 1 if neither did."""
    return int(os.environ.get("WORLD_SIZE", 1))


def uses_accelerator(model: nn.Module | None = None) -> bool:
    """Say whether to train on GPUs: one process by itself if its model is there, several if each has one of its own."""
    if launched_processes() == 1 and model is not None:
        return next(model.parameters()).device.type != "cpu"
    return torch.accelerator.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", launched_processes()))
