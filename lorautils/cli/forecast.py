"""What `lorautils train --dry_run` says: the data counted, steps, memory and minutes, untrained."""

import math
from collections.abc import Sequence

import psutil
import torch
from peft import PeftConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from lorautils import basemodel
from lorautils.cli import targets
from lorautils.cli.options import Train
from lorautils.data import IGNORED
from lorautils.formats import packing, report
from lorautils.lora import PROJECTIONS
from lorautils.measure import gigaflops
from lorautils.scaling import memory


def forecast(options: Train, data, sequences: Sequence) -> str:
    """Return the lines of a dry run, for one process."""
    rows = [sequence.feature for sequence in sequences]
    lines = [report.counts(data, sequences, options.batch_size)]
    if options.packing:
        rows = packing.packed(rows, options.max_length)
        lines.append(f"{'packed':10} {len(rows):,} rows of at most {options.max_length:,} tokens")
    batches = math.ceil(len(rows) / options.batch_size)
    steps = math.ceil(options.epochs * math.ceil(batches / options.gradient_accumulation_steps))
    lines += [f"{'steps':10} {steps:,}", f"{'memory':10} {_memory(options, rows)}"]
    return "\n".join([*lines, f"{'minutes':10} {_minutes(options, rows)}"])


def _minutes(options: Train, rows: Sequence[dict]) -> str:
    """Return what the matrix products of all steps take at the speed that a probe of half a second finds."""
    if torch.cuda.is_available():
        return "not predicted on a GPU"
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(basemodel.load_config(options.model))
    head = base.get_output_embeddings().weight
    weights = sum(layer.weight.numel() for layer in base.modules() if targets.is_linear(layer)) - head.numel()
    tokens = sum(len(row["input_ids"]) for row in rows)
    answers = sum(label != IGNORED for row in rows for label in row["labels"][1:])
    each = 6 if options.gradient_checkpointing else 4  # operations a weight: forward, again, and back to the inputs
    operations = options.epochs * (each * weights * tokens + 4 * head.numel() * answers)
    speed = gigaflops(torch.bfloat16 if options.bf16 else torch.float32)
    return f"at least {operations / speed / 6e10:.1f}, the matrix products alone at {speed:.0f} GFLOP/s"


def _memory(options: Train, rows: Sequence[dict]) -> str:
    """Return the predicted peak of the step with the longest rows, and what is free."""
    config = basemodel.load_config(options.model)
    widest = sorted(rows, key=lambda row: -len(row["input_ids"]))[: options.batch_size]
    names = (options.target_modules or ",".join(PROJECTIONS)).replace(" ", "").split(",")
    step = {"batch": len(widest), "length": len(widest[0]["input_ids"])}
    step["predicted"] = sum(label != IGNORED for row in widest for label in row["labels"][1:])
    fields = {"use_dora", "bias", "from_adapter", *targets.NAMED} - {"target_modules"}
    special = any(getattr(options, name) not in (None, False, "none") for name in fields)
    if isinstance(config, LlamaConfig) and {*names} <= {*PROJECTIONS} and not special:
        more = memory.Step(
            **step,
            method="QLoRA" if options.load_in_4bit else "LoRA",
            r=options.r,
            targets=names,
            dropout=options.lora_dropout,
            precision="bfloat16" if options.bf16 else "float32",
            checkpointing=options.gradient_checkpointing,
            padding=True,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )
        peak, word = memory.predict(config, more).total, "about"
    else:
        peak, word = unfilled(options, config, **step)
    return f"{word} {peak / 2**30:.1f} GiB at the peak, {_free() / 2**30:.1f} GiB are free"


def unfilled(options: Train, config, batch: int, length: int, predicted: int) -> tuple[int, str]:
    """Return the bytes of a step of any model, from tensors that are never filled, and "about" or "at least".

    They are weights, the adapter with gradients and moments, what the forward pass keeps, and, for a moment, the
    gradients of logits. What one layer needs for its way back is not counted; nor, of a model that looks at its
    numbers on the way, as one with experts does, what the forward pass keeps.
    """
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype)
        spared = _spared_by_4_bits(base) if options.load_in_4bit else 0
        model = get_peft_model(base, _adapter(base, options)).train()
        rows = torch.zeros(batch, length, base.get_input_embeddings().weight.shape[1], dtype=dtype)
        mask = torch.ones(batch, 1, length, length, dtype=torch.bool)
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    kept = {}  # each storage once; they stay, so that no other takes their place

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    word = "about"
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, note):
            hidden = model.get_decoder()(inputs_embeds=rows, attention_mask=mask).last_hidden_state
            note(hidden)
    except RuntimeError:
        word = "at least"
    weights = [parameter.untyped_storage() for parameter in model.parameters()]
    sizes = {storage._cdata: storage.nbytes() for storage in [*weights, *kept.values()]}
    trained = sum(4 * parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    return sum(sizes.values()) - spared + 3 * trained + 12 * predicted * vocabulary, word


def _adapter(base, options: Train) -> PeftConfig:
    """Return the configuration of what is trained: of a new adapter, or of the one that is trained further."""
    if options.from_adapter is None:
        return targets.config(base, options)
    own = PeftConfig.from_pretrained(options.from_adapter)
    own.inference_mode, own.init_lora_weights = False, True  # other starts need the weights
    return own


def _spared_by_4_bits(base) -> int:
    """Return the bytes that the linear layers of a model, but for its head, need less in 4 bits."""
    head = base.get_output_embeddings()
    layers = [layer for layer in base.modules() if isinstance(layer, nn.Linear) and layer is not head]
    return sum(layer.weight.nbytes - round(memory.NF4_BYTES * layer.weight.numel()) for layer in layers)


def _free() -> int:
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
