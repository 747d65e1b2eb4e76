"""A whole run, three ways: Trainer with stock PEFT, `train()`, `train(loss=fused.loss)`: notebook 13.

`python -m experiments.fused_run SEED [SEED ...]` trains on 400 examples for 3 epochs each way, and appends seconds and
answers to Test-A to results/fused_run.jsonl. The seconds are those of an otherwise idle machine; on another one,
`--busy` leaves them out.
"""

import sys
from time import perf_counter

from peft import get_peft_model
from torch import nn
from transformers import PrinterCallback, Trainer, TrainingArguments

from experiments.common import append, device, train
from experiments.machine import machine
from lorautils import release_memory, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.data import collate, encode
from lorautils.evaluation import evaluate
from lorautils.results import RESULTS
from lorautils.scaling import fused
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs, cron_prompt
from lorautils.training import lora_config, plain_loss

RECORD = RESULTS / "fused_run.jsonl"
EXAMPLES, EPOCHS, BATCH_SIZE, LEARNING_RATE, CASES = 400, 3, 8, 2e-3, 200


def by_trainer(model: nn.Module, tokenizer, pairs: list, seed: int) -> None:
    """Train as the Trainer of transformers does by itself: batches in random order, logits for every token."""
    arguments = TrainingArguments(
        per_device_train_batch_size=BATCH_SIZE,
        num_train_epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encode(tokenizer, pairs),
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def by_course(loss):
    """Return the training of notebook 08, with the plain or the fused loss."""

    def run(model: nn.Module, tokenizer, pairs: list, seed: int) -> None:
        options = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE}
        train(model.to(device()), tokenizer, pairs, **options, seed=seed, loss=loss, progress=False)

    return run


WAYS = {"Trainer": by_trainer, "train()": by_course(plain_loss), "train(fused=True)": by_course(fused.loss)}


def execute(way: str, seed: int) -> dict:
    """Train one way with one seed, and return its time and its scores."""
    setup(seed)
    tokenizer, model = load_tokenizer(), get_peft_model(load_base_model(), lora_config())
    pairs = cron_pairs(cron.train_examples(EXAMPLES, seed=seed))
    begin = perf_counter()
    WAYS[way](model, tokenizer, pairs, seed)
    seconds = perf_counter() - begin
    test = cron.test_a(CASES)
    answers = evaluate(model, tokenizer, [cron_prompt(case.text) for case in test])
    return {"seconds": round(seconds, 1), "n": CASES, "exact": cron.score(answers, test).exact}


def main() -> None:
    """Run all ways with the seeds asked for."""
    seeds, busy = [int(word) for word in sys.argv[1:] if word != "--busy"], "--busy" in sys.argv
    for seed in seeds:
        for way in WAYS:
            record = {"way": way, "seed": seed, **execute(way, seed), "machine": machine()}
            append(RECORD, record | ({"seconds": None} if busy else {}))
            print(f"{way}, seed {seed}: {record['seconds']} s, {record['exact']} of {CASES} exact", flush=True)
            release_memory()


if __name__ == "__main__":
    main()
