"""Train the adapter that ships in adapters/cron, on a GPU, with far more examples than a notebook affords.

The recipe is notebook 08's (same configuration, same train()); only the data grow. The scores that it prints are
those of the saved bf16 file, loaded again. A recipe is chosen with --validate FILE: it trains, adds the scores of the
validation split to the file as one line, keeps no adapter and looks at no test; a recipe that has its line is skipped.
"""

import argparse
import json
from itertools import chain
from multiprocessing import Pool
from pathlib import Path
from random import Random

import torch
from peft import get_peft_model

from experiments.common import append, device, recorded, scores, train, validation_scores
from experiments.machine import machine
from lorautils import setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import load_adapter
from lorautils.results import score_table
from lorautils.tasks import cron
from lorautils.tasks.cron import ADAPTER, cron_pairs
from lorautils.tasks.grammar.adapter_data import adapter_examples
from lorautils.training import lora_config


def main() -> None:
    """Train, save in bf16, load again, score, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=int, default=950_000, help="examples that are made")
    parser.add_argument("--examples", type=int, default=680_000, help="how many of them are trained on, from the first")
    parser.add_argument("--wider", type=float, default=0.5, help="share of wider ways to say a schedule")
    parser.add_argument("--none", type=float, default=0.2, help="share of refusals")
    parser.add_argument("--human-share", type=float, default=0.8, help="of the other examples: share of people's words")
    parser.add_argument("--batch-size", type=int, default=160)
    parser.add_argument("--learning-rate", type=float, default=1.8e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=ADAPTER)
    parser.add_argument("--validate", type=Path, metavar="FILE", help="only add the validation scores to this file")
    options = parser.parse_args()
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "validate")}
    if options.validate and settings in [record["settings"] for record in recorded(options.validate)]:
        print(f"{options.validate} has the scores of {settings}")
        return

    setup(options.seed)
    tokenizer = load_tokenizer()
    model = get_peft_model(load_base_model(), lora_config())
    examples = many_examples(options.pool, options.wider, options.none, options.human_share)
    history = train(
        model.to(device()),
        tokenizer,
        cron_pairs(examples[: options.examples]),
        epochs=1,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        bf16=torch.cuda.is_available(),
    )
    record = {"settings": settings, "machine": machine(), "seconds": round(history.seconds), "steps": history.steps}
    record |= {"trained_tokens": history.trained_tokens, "last_loss": history.loss[-1]}
    if options.validate:
        append(options.validate, record | {"validation": validation_scores(model, tokenizer)})
        return

    save_bf16(model, options.output)
    model, tokenizer = load_adapter(options.output)
    counts = scores(model.to(device()), tokenizer)
    print(score_table(counts))
    record |= {"scores": counts, "validation": validation_scores(model, tokenizer)}
    (options.output / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def shard(n: int, seed: int, wider: float, none: float, human_share: float) -> list[cron.Example]:
    """Make one process's share of the examples."""
    return adapter_examples(n, seed, wider=wider, none=none, human_share=human_share)


def many_examples(n: int, *shares: float) -> list[cron.Example]:
    """Make n examples with distinct texts in twelve processes, each with a seed of its own, and shuffle them."""
    with Pool(12) as pool:
        shards = pool.starmap(shard, [(n // 12 + 2000, 1000 + index, *shares) for index in range(12)])
    distinct: dict[str, cron.Example] = {}
    for example in chain.from_iterable(shards):
        distinct.setdefault(cron.normalized(example.text), example)
    examples = list(distinct.values())
    Random(0).shuffle(examples)
    return examples[:n]


def save_bf16(model, folder: Path) -> None:
    """Save the adapter of a model with its numbers in bf16: half the bytes; PEFT reads them back as float32."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
