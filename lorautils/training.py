"""Train and evaluate: one road for the notebooks, the experiments and the command line.

Notebook 08 teaches it. The loss is the mean of -log p(token | everything before it) over the *answer* tokens.
A training pair is a prompt and a completion; the end-of-text token is appended to the completion.
"""

import json
import os
import random
import reprlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, TaskType, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.utils.data import Sampler
from tqdm.auto import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from lorautils import release_memory
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.cron import Example
from lorautils.halves import fused_loss

IGNORED = -100  # the label that F.cross_entropy skips
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTER = Path(__file__).parent.parent / "adapters" / "cron"


class Pair(NamedTuple):
    """One training example: what the model reads, and what it should write."""

    prompt: str
    completion: str


def cron_prompt(text: str) -> str:
    """Return the prompt, in the base model's chat format, that asks for the cron expression of a phrase.

    Example:
        >>> cron_prompt("every day at nine")
        '<|im_start|>user\\nCron: every day at nine<|im_end|>\\n<|im_start|>assistant\\n'
    """
    return f"<|im_start|>user\nCron: {text}<|im_end|>\n<|im_start|>assistant\n"


def few_shot_prompt(shots: Iterable[Example], text: str) -> str:
    """Return `cron_prompt(text)` with solved examples before it, as earlier turns of the chat."""
    solved = "".join(f"{cron_prompt(shot.text)}{shot.cron}<|im_end|>\n" for shot in shots)
    return solved + cron_prompt(text)


def cron_pairs(examples: Iterable[Example]) -> list[Pair]:
    """Turn cron examples into training pairs."""
    return [Pair(cron_prompt(example.text), example.cron) for example in examples]


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


def load_pairs(path: str | Path) -> list[Pair]:
    """Read training pairs from a JSONL file: one `{"prompt": ..., "completion": ...}` a line, used verbatim.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is not such an object; the message names the line.
    """
    pairs = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): save it again with UTF-8 encoding") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            pairs.append(_parse_pair(line, f"{path}, line {number}"))
    if not pairs:
        raise ValueError(f'{path} holds no pairs: write one {{"prompt": ..., "completion": ...}} a line')
    return pairs


def _parse_pair(line: str, where: str) -> Pair:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # such as thousands of digits, or of brackets
        why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise ValueError(f"{where}: not JSON ({why}); one object a line") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: a JSON object was expected, got {type(record).__name__}")
    for name in Pair._fields:
        value = record.get(name)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f'{where}: "{name}" must be a non-empty string, got {reprlib.repr(value)}')
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f'{where}: "{name}" holds half a character, such as \\ud800: write the character itself')
    unknown = sorted(set(record) - set(Pair._fields))
    if unknown:
        raise ValueError(f'{where}: unknown field {reprlib.repr(unknown[0])}; only "prompt" and "completion" are used')
    return Pair(record["prompt"], record["completion"])


def encode(tokenizer, pairs: Sequence[Pair], max_tokens: int = 1024) -> list[dict[str, list[int]]]:
    """Turn pairs into token ids and labels of equal length; prompt tokens carry the label -100.

    Raises:
        ValueError: there are no pairs, or one is longer than `max_tokens`.
    """
    if not pairs:
        raise ValueError("no training pairs were given: pass at least one Pair(prompt, completion)")
    features = []
    for number, (prompt, completion) in enumerate(pairs, start=1):
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer(completion + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        input_ids = prompt_ids + answer_ids
        if len(input_ids) > max_tokens:
            raise ValueError(
                f"pair {number} has {len(input_ids)} tokens, at most {max_tokens} are allowed: shorten it, "
                "or leave it out"
            )
        features.append({"input_ids": input_ids, "labels": [IGNORED] * len(prompt_ids) + answer_ids})
    return features


def collate(features: Sequence[dict[str, list[int]]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Pad features on the right to one length: three tensors of shape (batch, tokens).

    Example:
        >>> rows = [{"input_ids": [5, 6], "labels": [-100, 6]}, {"input_ids": [7], "labels": [7]}]
        >>> collate(rows, pad_token_id=0)["labels"]
        tensor([[-100,    6],
                [   7, -100]])
    """
    longest = max(len(feature["input_ids"]) for feature in features)

    def padded(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([f[name] + [filler] * (longest - len(f[name])) for f in features])

    lengths = torch.tensor([len(feature["input_ids"]) for feature in features])
    return {
        "input_ids": padded("input_ids", pad_token_id),
        "labels": padded("labels", IGNORED),
        "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
    }


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


def answer_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the cross-entropies (nats) of the answer tokens of a batch, as a scalar."""
    labels = batch["labels"][:, 1:]  # position t predicts token t + 1
    keep = F.pad(labels != IGNORED, (0, 1))  # (batch, tokens); the last position predicts nothing
    with answer_rows_only(model, keep):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return F.cross_entropy(logits.float(), labels[labels != IGNORED], reduction="sum")


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

    loss_is_scaled_for_ga = True
    summed_loss = staticmethod(answer_loss)

    def _get_train_sampler(self, train_dataset=None) -> Sampler[int]:
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

    `wrapper` is the class that the model was trained in: DistributedDataParallel, or FSDP's, if `processes` shared it.
    """

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
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


def last_checkpoint(output_dir: str | Path) -> Path:
    """Return the newest complete checkpoint in a folder.

    Raises:
        OSError: there is none.
    """
    if complete := checkpoints(output_dir):
        return complete[max(complete)]
    raise FileNotFoundError(f"{output_dir} holds no complete checkpoint: train with resume=False")


def checkpoints(output_dir: str | Path) -> dict[int, Path]:
    """Return the complete checkpoints in a folder, by step."""
    states = [state for state in Path(output_dir).glob("checkpoint-*/trainer_state.json") if _is_whole(state)]
    steps = {state.parent: state.parent.name.removeprefix("checkpoint-") for state in states}
    return {int(step): folder for folder, step in steps.items() if step.isdecimal()}  # no "checkpoint-50 copy"


def _is_whole(state: Path) -> bool:
    """Say whether a checkpoint's last file was written to its end."""
    try:
        return bool(json.loads(state.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def train(
    model: nn.Module,
    tokenizer,
    pairs: Sequence[Pair],
    *,
    epochs: float = 3,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    optimizer: torch.optim.Optimizer | None = None,
    seed: int = 0,
    output_dir: str | Path | None = None,
    resume: bool = False,
    bf16: bool = False,
    gradient_checkpointing: bool = False,
    fused: bool = False,
    progress: bool = True,
) -> History:
    """Train the parameters of `model` that require a gradient, on the completions of `pairs`.

    AdamW without weight decay, gradient clipping at 1.0, a tenth of the steps as warm-up and then a cosine to zero.
    An `optimizer` of your own, such as LoRA+'s, takes AdamW's place and brings its own learning rates.
    It runs where the model is: on the CPU, or on the GPU that you have moved it to.
    Float32 unless `bf16` asks for bf16 autocast (a gain on GPUs, many times slower on CPUs without such instructions).
    `gradient_checkpointing` keeps the input of each layer only and computes the layer again: less memory, more time.
    `fused` computes PEFT's LoRA layers with a backward pass written by hand and no row that the loss does not read
    (lorautils.fused), on a CPU the two halves of a batch side by side (lorautils.halves): less of both.
    Checkpoints, which are adapters for PEFT with the optimiser's state beside them, are written once an epoch if there
    is an `output_dir`. Ctrl-C ends the run after the current step: the model keeps what it has learned, and with an
    `output_dir` the run can be resumed.

    Under torchrun or `accelerate launch`, the processes share each batch of `batch_size` examples: the same batches and
    the same losses as in one process, apart from dropout's masks. A model that `fully_shard` has sharded is trained as
    it is, without checkpoints.

    Raises:
        ValueError: nothing to train, no pairs, `resume` without `output_dir`, or processes that cannot share a batch.
        OSError: `resume` and no complete checkpoint, or one in `output_dir` and no `resume`.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "no parameter of the model requires a gradient, so there is nothing to train: wrap it with "
            "get_peft_model, or load the adapter with is_trainable=True"
        )
    if resume and output_dir is None:
        raise ValueError("resume=True needs the output_dir of the run that it resumes, got None")
    if output_dir and not resume and checkpoints(output_dir):
        raise FileExistsError(
            f"{output_dir} holds the checkpoints of an earlier run, and this one would mix its own with them: go on "
            "with that run, resume=True, or name a new folder"
        )
    checkpoint = str(last_checkpoint(output_dir)) if resume else None
    features = encode(tokenizer, pairs)
    tokens_per_epoch = sum(len(feature["input_ids"]) for feature in features)
    arguments = TrainingArguments(
        output_dir=str(output_dir or tempfile.gettempdir()),  # where nothing is saved; None makes a folder here
        save_strategy="epoch" if output_dir else "no",
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        bf16=bf16,
        activation_checkpointing=gradient_checkpointing,
        seed=seed,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        use_cpu=not uses_accelerator(model),
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # or one process would split its batches over all GPUs (DataParallel)
    if isinstance(model, FSDPModule):
        model.is_distributed_loading_by_transformers = True  # the Trainer wraps it no more
    history = History(processes=arguments.world_size)
    if history.processes > 1:
        features.append({"input_ids": [tokenizer.pad_token_id], "labels": [IGNORED]})  # fills the last batch
    arguments.per_device_train_batch_size = _share(batch_size, history.processes)
    callback = _Progress(history, show=progress and arguments.process_index == 0)
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        train_dataset=features,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        callbacks=[callback],
        optimizers=(optimizer, None),
    )
    trainer.remove_callback(PrinterCallback)
    halves = history.processes == 1 and not (bf16 or gradient_checkpointing)
    loss = fused_loss(model, halves=halves) if fused else nullcontext(answer_loss)
    start = time.perf_counter()
    with closing(callback), callback.catch_interrupt(), loss as trainer.summed_loss:
        trainer.train(resume_from_checkpoint=checkpoint)
    history.seconds = time.perf_counter() - start
    history.wrapper = type(trainer.model_wrapped).__name__
    del trainer
    release_memory()
    history.trained_tokens = round(epochs * tokens_per_epoch * history.steps / history.total_steps)
    if history.interrupted:
        print(_interrupt_message(history, output_dir))
    return history


def save_adapter(model: PeftModel, folder: str | Path) -> bool:
    """Write the adapter as plain files for PEFT, from the first process alone, and return whether this one is it.

    A sharded adapter is put together first, so all processes must call this; the frozen base stays where it is.
    """
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


def _interrupt_message(history: History, output_dir: str | Path | None) -> str:
    message = (
        f"Stopped after step {history.steps} of {history.total_steps}. The model keeps what it has learned so far."
    )
    if output_dir is None:
        return message + " It is in memory only, since no output_dir was given."
    return message + f" To go on: train(..., output_dir={str(output_dir)!r}, resume=True)."


@torch.inference_mode()
def evaluate(
    model: nn.Module, tokenizer, prompts: Sequence[str], *, max_new_tokens: int = 32, batch_size: int = 32
) -> list[str]:
    """Return the model's greedy answer to each prompt, in order, without special tokens or outer spaces."""
    was_training = model.training
    model.eval()
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # equal lengths waste no padding
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        batch = tokenizer(
            [prompts[index] for index in chunk],
            add_special_tokens=False,
            padding=True,
            padding_side="left",  # generation continues at the right end
            return_tensors="pt",
        ).to(model.device)
        generated = model.generate(
            **batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        texts = tokenizer.batch_decode(generated[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(chunk, texts, strict=True):
            answers[index] = text.strip()
    model.train(was_training)
    return answers


def english_text() -> str:
    """Return the paragraph of plain English on which the course measures forgetting."""
    return resources.files("lorautils").joinpath("data/english.txt").read_text(encoding="utf-8")


@torch.inference_mode()
def text_loss(model: nn.Module, tokenizer, text: str) -> tuple[float, int]:
    """Return the mean cross-entropy (nats per token) of a text, and the number of tokens that were predicted."""
    was_training = model.training
    model.eval()
    ids = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
    loss = model(input_ids=ids, labels=ids).loss.item()
    model.train(was_training)
    return loss, ids.shape[1] - 1


def load_cron_model(adapter: str | Path | None = None):
    """Return the base model with the cron adapter on it, in evaluation mode, and the tokenizer.

    Raises:
        OSError: the folder holds no adapter, or one that does not fit the base model.
    """
    folder = Path(adapter or ADAPTER)
    if not (folder / "adapter_config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no adapter (adapter_config.json is missing): name the folder of a saved adapter, or "
            "run from a clone of the repository, which brings adapters/cron"
        )
    base, tokenizer = load_base_model(), load_tokenizer()
    try:
        tensors = load_file(folder / "adapter_model.safetensors")  # PEFT would read a pickle where there is none
        model = PeftModel.from_pretrained(base, folder)
        _check_fit(model, tensors)
    except Exception as error:  # of many kinds: the files can hold anything
        raise OSError(
            f"the adapter in {folder} cannot be loaded ({error}): it is damaged, or made for another model; restore it "
            "with git checkout, or train a new one with lorautils train"
        ) from error
    return model, tokenizer


def _check_fit(model: PeftModel, tensors: dict[str, torch.Tensor]) -> None:
    """Raise ValueError where an adapter's file has not exactly the model's tensors, as numbers: PEFT warns at most."""
    names = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    if differences := sorted(names ^ tensors.keys()):
        raise ValueError(f"{len(differences)} tensors are missing or not known to the model, such as {differences[0]}")
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ValueError(f"{name} holds {tensor.dtype}, not all finite decimals")
