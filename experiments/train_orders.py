"""Train the second adapter, orders -> JSON, and score it beside the untouched model and a two-shot prompt.

`python -m experiments.train_orders` writes adapters/orders and results/orders.json: half an hour on a laptop CPU.
The recipe is notebook 08's (same configuration, same train()); the scores are those of the saved bf16 file.
"""

import argparse
import json
from pathlib import Path

import torch
from peft import get_peft_model

from experiments.common import device, train
from experiments.machine import machine
from experiments.sweeps import data_hash
from experiments.train_adapter import save_bf16
from lorautils import setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate, load_adapter, text_loss
from lorautils.results import RESULTS
from lorautils.tasks import orders
from lorautils.training import lora_config

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"


def main() -> None:
    """Train, save in bf16, load again, score, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=orders.ADAPTER)
    parser.add_argument("--record", type=Path, default=RESULTS / "orders.json")
    options = parser.parse_args()

    setup(options.seed)
    pairs = orders.order_pairs(orders.train_examples(options.examples, seed=options.seed))
    model = get_peft_model(load_base_model(), lora_config())
    history = train(
        model.to(device()),
        load_tokenizer(),
        pairs,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        seed=options.seed,
        bf16=torch.cuda.is_available(),
    )
    save_bf16(model, options.output)
    name_the_base(options.output / "adapter_config.json")
    record = {
        "settings": {name: value for name, value in vars(options).items() if name not in ("output", "record")},
        "data": data_hash([pairs, orders.held_out()]),
        "machine": machine(),
        "seconds": round(history.seconds),
        "steps": history.steps,
        "trained_tokens": history.trained_tokens,
        "last_losses": [round(loss, 4) for loss in history.loss[-10:]],
        **compared(*load_adapter(options.output)),
    }
    options.record.write_text(json.dumps(record, indent=1) + "\n")


def name_the_base(config: Path) -> None:
    """Replace the folder of this machine, from which the base model was read, by the model's public name."""
    fields = json.loads(config.read_text())
    fields |= {"base_model_name_or_path": BASE, "target_modules": sorted(fields["target_modules"])}
    config.write_text(json.dumps(fields, indent=2) + "\n")


def compared(model, tokenizer) -> dict[str, dict]:
    """Score the adapter on each test, the model without it, and that with two solved examples before each order."""
    model = model.to(device())
    shots, text = orders.train_examples(2), texts.read("english")
    scores = {"adapter": scored(model, tokenizer, 100)}
    english = {"adapter": round(text_loss(model, tokenizer, text)[0], 4)}
    with model.disable_adapter():
        scores |= {"untouched": scored(model, tokenizer, 25), "two-shot": scored(model, tokenizer, 25, shots)}
        english |= {"untouched": round(text_loss(model, tokenizer, text)[0], 4)}
    return {"scores": scores, "english_loss": english}


def scored(model, tokenizer, n: int, shots=()) -> dict[str, dict]:
    """Return the score of greedy answers to n cases of each test, and print it."""
    scores = {}
    for name, examples in orders.held_out(n).items():
        prompts = [orders.order_prompt(example.text, shots) for example in examples]
        answers = evaluate(model, tokenizer, prompts, max_new_tokens=orders.ANSWER_TOKENS)
        scores[name] = orders.score(answers, examples)._asdict()
        scores[name]["fields"] = round(scores[name]["fields"], 4)
        print(name, scores[name], flush=True)
    return scores


if __name__ == "__main__":
    main()
