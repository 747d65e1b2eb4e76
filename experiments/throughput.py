"""Tokens a second of one training step: stock PEFT, full fine-tuning, the fused layers, and the bound. Notebook 13.

`python -m experiments.throughput` (`make bench`) measures 16 rows of 40 tokens, ten of them answers, on the base model
and this processor: stock PEFT, fused, bound. `--record` takes all variants and appends to results/throughput.jsonl,
`--compile` adds torch.compile, whose compilation takes minutes. The variants take turns in one process; what counts is
the median. Freed memory stays with the process (`keep_pages`), or stock PEFT would pay for up to 1.6 GB of fresh pages
a step, depending on which variant ran before: 120 to 170 tokens a second were seen.
`python -m experiments.throughput gpu 1B [WORD ...]` (or 135M, 8B) measures rows of 2048 tokens, all of them answers, on
random bf16 weights under bf16 autocast, one variant after the other: those whose name holds one of the words.
The bound: the products of matrices that the fused step makes of weights and activations, and nothing else, timed alone.
On a processor they are made as that step makes them, for the two halves of the batch side by side.
"""

import ctypes
import gc
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from importlib.util import find_spec
from statistics import median
from time import perf_counter

import torch
from peft import get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from experiments.common import append, device
from experiments.machine import machine
from experiments.scale import SHAPES, TINY, Run, batch_of, build, flops_per_token, utilisation
from lorautils import release_memory, setup
from lorautils.basemodel import load_base_model
from lorautils.data import IGNORED
from lorautils.lora import PROJECTIONS
from lorautils.measure import gigaflops, kept_bytes
from lorautils.results import RESULTS
from lorautils.scaling import fused
from lorautils.scaling.fused import loss as fused_loss
from lorautils.scaling.fused import side_by_side, split
from lorautils.training import lora_config

RECORD = RESULTS / "throughput.jsonl"
SHORT = ("stock PEFT, dropout 0.1", "fused, dropout 0.1", "bound")
ROUNDS = 7
ROWS, TOKENS, ANSWERS = 16, 40, 10
GPU_ROWS = {"135M": 16, "1B": 8, "8B": 2}
Step = Callable[[], None]
Variant = Callable[[], AbstractContextManager[Step]]  # entering it does what a training does once, which is not timed
aten = torch.ops.aten


def keep_pages() -> None:
    """Let glibc give no freed memory back to the system, to which every page costs time when it is wanted again."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no allocation by mmap, which ends when it is freed
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: bytes at the end of the heap


def set_dropout(model: nn.Module, p: float) -> None:
    """Give the LoRA layers of a model made with dropout another share to drop."""
    for name, module in model.named_modules():
        if ".lora_dropout." in name:
            module.p = p


def stock_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the loss as transformers computes it, which is what PEFT's users get."""
    return model(**batch).loss


def few_rows_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the same loss, from the rows alone that it depends on."""
    return mean_of(fused.loss_of_fewer_rows)(model, batch)


def mean_of(summed_loss: Callable) -> Callable:
    """Return a loss divided by the number of answer tokens."""
    return lambda model, batch: summed_loss(model, batch) / (batch["labels"][:, 1:] != IGNORED).sum()


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of what a model trains."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)


def step_of(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable, batch: dict, context=nullcontext
) -> Step:
    """Return one step in a bare loop: loss, gradients, clipping, AdamW; `context` is entered around the loss."""
    trained = optimizer.param_groups[0]["params"]

    def step() -> None:
        with context():
            value = loss(model, batch)
        value.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


class Turns(TrainerCallback):
    """Let a Trainer in a thread of its own do one step whenever it is asked to."""

    def __init__(self):
        self.go, self.done, self.stop = threading.Semaphore(0), threading.Semaphore(0), False

    def on_train_begin(self, args, state, control, **kwargs):
        """Wait for the first turn."""
        self.go.acquire()

    def on_step_end(self, args, state, control, **kwargs):
        """Give the turn back, and wait for the next one."""
        self.done.release()
        self.go.acquire()
        control.should_training_stop = self.stop

    def __call__(self) -> None:
        """Do one step, the fetching of its batch included."""
        self.go.release()
        self.done.acquire()


@contextmanager
def trainer_step(model: nn.Module, batch: dict[str, torch.Tensor]) -> Iterator[Step]:
    """Yield one step of the Trainer of transformers with its defaults: loss, batches, logging."""
    rows = [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]
    count = 2 * ROUNDS + 1
    arguments = TrainingArguments(
        per_device_train_batch_size=len(rows), max_steps=count, save_strategy="no", report_to="none", disable_tqdm=True
    )
    turns = Turns()
    trainer = Trainer(model=model, args=arguments, train_dataset=rows * count, callbacks=[turns])
    trainer.remove_callback(PrinterCallback)
    worker = threading.Thread(target=trainer.train, daemon=True)
    worker.start()
    yield turns
    turns.stop = True
    turns.go.release()
    worker.join()


class Products(TorchDispatchMode):
    """Note every product of two matrices in a step, by shapes and strides, to make them again without all the rest."""

    def __init__(self):
        super().__init__()
        self.calls, self.memory = [], {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (aten.mm.default, aten.addmm_.default):
            left, right = args[-2:]
            out = self.like(left.new_empty(left.shape[0], right.shape[1]), "out")
            self.calls.append((self.like(left, "in"), self.like(right, "in"), out, function is aten.addmm_.default))
        return function(*args, **(kwargs or {}))

    def like(self, tensor: torch.Tensor, use: str) -> torch.Tensor:
        """Return weights themselves, and one random stand-in for all activations of a layout."""
        if isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter):
            return tensor.detach()
        layout = (tensor.shape, tensor.stride(), tensor.dtype, use)
        if layout not in self.memory:
            self.memory[layout] = torch.empty_strided(*layout[:2], dtype=tensor.dtype, device=tensor.device).normal_()
        return self.memory[layout]

    def operations(self) -> int:
        """Return the operations of all products."""
        return sum(2 * left.numel() * right.shape[1] for left, right, *_ in self.calls)

    @torch.no_grad()
    def __call__(self) -> None:
        """Make the products again."""
        for left, right, out, add in self.calls:
            torch.addmm(out, left, right, out=out) if add else torch.mm(left, right, out=out)


def bound_of(step: Step) -> Products:
    """Return the products of matrices of a step."""
    with Products() as products:
        step()
    return products


def timed(variants: dict[str, Variant], wait: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Return the median seconds of one step of each variant; the variants take turns.

    A turn begins with a step that is not timed, in which memory and threads settle for this variant, as they have in
    a training after its first steps.
    """
    seconds = {name: [] for name in variants}
    gc.collect()
    for _ in range(ROUNDS):
        for name, variant in variants.items():
            with variant() as step:
                step()
                wait()
                begin = perf_counter()
                step()
                wait()
                seconds[name].append(perf_counter() - begin)
    return {name: median(values) for name, values in seconds.items()}


def always(step: Step) -> Variant:
    """Return the variant that is a step and nothing else."""
    return lambda: nullcontext(step)


def with_dropout(step: Step, model: nn.Module, p: float) -> Variant:
    """Return a step as a variant with that dropout."""

    @contextmanager
    def variant() -> Iterator[Step]:
        set_dropout(model, p)
        yield step

    return variant


def fused_variant(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict, p: float, **options) -> Variant:
    """Return the variant that `train(..., loss=fused.loss)` runs, with the options of `loss`."""

    @contextmanager
    def variant() -> Iterator[Step]:
        set_dropout(model, p)
        with fused_loss(model, **options) as loss:
            yield step_of(model, optimizer, mean_of(loss), batch)

    return variant


def bound_in_halves(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict) -> tuple[Step, int]:
    """Return the products of the halves of a batch, side by side, and how many operations they are."""
    set_dropout(model, 0.1)
    with fused.fused(model):
        halves = [bound_of(step_of(model, optimizer, few_rows_loss, half)) for half in split(batch)]
    pool = ThreadPoolExecutor(len(halves))
    return lambda: side_by_side(pool, lambda half: half(), halves), sum(half.operations() for half in halves)


def on_processor(every: bool, compiled: bool) -> dict:
    """Measure the base model on this processor: `SHORT` or every variant; bf16 only if the probe finds it faster."""
    keep_pages()
    setup(0)
    batch = batch_of(ROWS, TOKENS, ANSWERS, 49152, "cpu")
    probe = {"float32": gigaflops(torch.float32), "bf16": gigaflops(torch.bfloat16)}
    print(f"probe: float32 {probe['float32']:.0f} GFLOP/s, bf16 {probe['bf16']:.0f} GFLOP/s", flush=True)
    model = get_peft_model(load_base_model(), lora_config()).train()
    full = load_base_model().train().requires_grad_(False)
    for name, module in full.named_modules():
        module.requires_grad_(name.endswith(tuple(PROJECTIONS)))
    optimizer = adamw(model)
    stock = step_of(model, optimizer, stock_loss, batch)
    bound, operations = bound_in_halves(model, optimizer, batch)
    variants = {
        "stock PEFT, dropout 0.1": with_dropout(stock, model, 0.1),
        "stock PEFT, dropout 0": with_dropout(stock, model, 0.0),
        "full fine-tuning": always(step_of(full, adamw(full), stock_loss, batch)),
        "fused, dropout 0.1": fused_variant(model, optimizer, batch, 0.1),
        "fused, dropout 0.1, whole batch": fused_variant(model, optimizer, batch, 0.1, halves=False),
        "fused, dropout 0.1, a mask a layer": fused_variant(model, optimizer, batch, 0.1, shared_masks=False),
        "fused, dropout 0": fused_variant(model, optimizer, batch, 0.0),
        "bound": always(bound),
    }
    memory = {
        "stock PEFT, dropout 0.1": kept_bytes(model, lambda: stock_loss(model, batch)),
        "full fine-tuning": kept_bytes(full, lambda: stock_loss(full, batch)),
    }
    with fused.fused(model):
        memory["fused, dropout 0.1"] = kept_bytes(model, lambda: few_rows_loss(model, batch))
    if compiled:
        compiled_step = step_of(torch.compile(model), optimizer, stock_loss, batch)
        variants["torch.compile, dropout 0.1"] = with_dropout(compiled_step, model, 0.1)
    if not every:
        seconds = timed({name: variant for name, variant in variants.items() if name in SHORT or "compile" in name})
    else:
        variants |= in_bf16(model, batch) if probe["bf16"] > probe["float32"] else {}
        with trainer_step(get_peft_model(load_base_model(), lora_config()), batch) as by_trainer:
            seconds = timed({"stock PEFT, Trainer": always(by_trainer), **variants})
    rates = {name: ROWS * TOKENS / duration for name, duration in seconds.items()}
    return {
        "kind": "processor",
        "batch": [ROWS, TOKENS, ANSWERS],
        "threads": torch.get_num_threads(),
        "gigaflops": probe,
        "bound_operations": operations,
        "variants": {name: {"tokens_per_second": rate, "kept": memory.get(name)} for name, rate in rates.items()},
    }


def in_bf16(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, Variant]:
    """Return the variants in bf16: autocast over PEFT, and the fused layers over a bf16 base with float32 factors."""
    half = get_peft_model(load_base_model(dtype=torch.bfloat16), lora_config()).train()
    optimizer = adamw(half)
    autocast = step_of(model, adamw(model), stock_loss, batch, lambda: torch.autocast("cpu", torch.bfloat16))
    return {
        "stock PEFT, bf16 autocast, dropout 0.1": with_dropout(autocast, model, 0.1),
        "fused, bf16, dropout 0.1": fused_variant(half, optimizer, batch, 0.1),
        "fused, bf16, dropout 0": fused_variant(half, optimizer, batch, 0.0),
        "bound, bf16": always(bound_in_halves(half, optimizer, batch)[0]),
    }


def on_gpu(model_name: str, words: list[str], tiny: bool = False) -> Iterator[dict]:
    """Measure a model of random weights variant by variant, and yield records; `tiny` tries it out on a toy."""
    kinds = ["stock PEFT", "fused", "torch.compile", "fused + torch.compile"]
    if find_spec("liger_kernel") is None:
        print("liger_kernel is not installed: its variants are left out")
    else:
        kinds += ["Liger", "fused + Liger", "fused + Liger + torch.compile"]  # last: they patch transformers for good
    names = [f"{kind}, dropout {p}" for kind in kinds for p in ("0", "0.1")]
    names[:0] = ["full fine-tuning, dropout 0", "fused layers' bound, dropout 0"]
    for name in names:
        if any(word in name for word in words or [""]):
            yield measured(
                name, Run(model_name, "full" if "full" in name else "LoRA", float(name.split()[-1]), False), tiny
            )


def measured(name: str, run: Run, tiny: bool) -> dict:
    """Return what one variant costs on a GPU; its name says what it is made of."""
    if "Liger" in name:
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        apply_liger_kernel_to_llama()
    torch.manual_seed(0)
    torch.compiler.reset()
    on, shape, rows = device(), TINY if tiny else SHAPES[run.model], 2 if tiny else GPU_ROWS[run.model]
    run = replace(run, length=64 if tiny else run.length)
    model = build(run, shape, torch.device(on))
    batch = batch_of(rows, run.length, run.length, shape.vocabulary, on)
    with fused.fused(model) if "fused" in name else nullcontext():
        whole = torch.compile(model) if "compile" in name else model
        step = step_of(whole, adamw(model), stock_loss, batch, lambda: torch.autocast(on, torch.bfloat16))
        if "bound" in name:
            step = bound_of(step)
        begin = perf_counter()
        step()
        first = perf_counter() - begin
        if on == "cuda":
            torch.cuda.reset_peak_memory_stats()
        (seconds,) = timed({name: always(step)}, torch.cuda.synchronize if on == "cuda" else lambda: None).values()
    peak = torch.cuda.max_memory_allocated() if on == "cuda" else None
    del model, whole, step
    release_memory()
    torch.cuda.empty_cache()
    rate = rows * run.length / seconds
    used = utilisation(rate * flops_per_token(run, shape))
    record = {
        "kind": "gpu",
        "variant": name,
        **asdict(run),
        "rows": rows,
        "tokens_per_second": rate,
        "utilisation": used,
    }
    share = f", {used:.0%} of the peak" if used else ""
    memory = f", {peak / 2**30:.1f} GiB" if peak else ""
    print(f"{run.model:5}{name:42}{rate:10.0f} tokens/s{share}{memory}, first step {first:.0f} s", flush=True)
    return record | {"peak": peak, "first_step_seconds": round(first, 1)}


def report(record: dict, base: str, best: str) -> None:
    """Print the table and the line that sums it up."""
    rates = {name: row["tokens_per_second"] for name, row in record["variants"].items()}
    print(f"{'variant':42}{'tokens/s':>10}{'to stock':>10}{'of bound':>10}{'kept for backward':>20}")
    for name, row in record["variants"].items():
        shares = f"{rates[name]:10.0f}{rates[name] / rates[base]:10.2f}{rates[name] / rates['bound']:10.0%}"
        print(f"{name:42}{shares}" + (f"{row['kept'] / 1e6:17.0f} MB" if row["kept"] else ""))
    print(f"ratio to stock: {rates[best] / rates[base]:.2f} · share of bound: {rates[best] / rates['bound']:.2f}")


def main() -> None:
    """Measure, print and record."""
    tiny = "--tiny" in sys.argv
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if words[:1] == ["gpu"]:
        for record in on_gpu(words[1], words[2:], tiny):
            if not tiny:
                append(RECORD, {**record, "machine": machine()})
        return
    every = "--record" in sys.argv
    record = on_processor(every, "--compile" in sys.argv)
    report(record, *SHORT[:2])
    if every:
        append(RECORD, {**record, "machine": machine()})


if __name__ == "__main__":
    main()
