"""What `lorautils train --dry_run` says: the data counted, the steps, and the memory of the widest one, untrained."""

import math
from collections.abc import Sequence

from lorautils.cli.options import Train
from lorautils.data import IGNORED
from lorautils.lora import PROJECTIONS


def forecast(options: Train, data, sequences: Sequence) -> str:
    """Return the lines of a dry run, for one process; memory is predicted for models of Llama's kind."""
    from lorautils.formats import report

    per_step = options.batch_size, options.gradient_accumulation_steps
    steps = math.ceil(options.epochs * math.ceil(math.ceil(len(sequences) / per_step[0]) / per_step[1]))
    lines = [report.counts(data, sequences, options.batch_size), f"{'steps':10} {steps:,}"]
    return "\n".join([*lines, f"{'memory':10} {_memory(options, sequences)}"])


def _memory(options: Train, sequences: Sequence) -> str:
    """Return the predicted peak of the step with the longest sequences, and what is free."""
    import torch
    from transformers import LlamaConfig

    from lorautils import basemodel
    from lorautils.scaling import memory

    config = basemodel.load_config(options.model)
    names = (options.target_modules or ",".join(PROJECTIONS)).replace(" ", "").split(",")
    if not isinstance(config, LlamaConfig) or not {*names} <= {*PROJECTIONS}:
        return "predicted for Llama's seven projections only, not for this model or these target_modules"
    widest = sorted(sequences, key=lambda sequence: -len(sequence.input_ids))[: options.batch_size]
    step = memory.Step(
        batch=len(widest),
        length=len(widest[0].input_ids),
        r=options.r,
        targets=names,
        dropout=options.lora_dropout,
        precision="bfloat16" if options.bf16 else "float32",
        checkpointing=options.gradient_checkpointing,
        predicted=sum(label != IGNORED for sequence in widest for label in sequence.labels[1:]),
        padding=True,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    peak = memory.predict(config, step).total
    return f"{peak / 2**30:.1f} GiB at the peak, {_free() / 2**30:.1f} GiB are free"


def _free() -> int:
    import psutil
    import torch

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
