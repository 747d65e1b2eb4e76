"""What recorded trainings have in common: the tests, their scores and losses, and a file that grows line by line."""

import json
import re
import sys
from pathlib import Path

import torch

from experiments.forgetting import skills, text_losses
from lorautils import texts, training
from lorautils.data import Pair, collate, encode
from lorautils.evaluation import evaluate, text_loss
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_pairs, cron_prompt
from lorautils.training import History, answer_loss

PASSAGE = 24  # words of a passage that is read, and as many that are to be continued


def device() -> str:
    """Return the device that a model is trained and scored on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(model, tokenizer, pairs, **options) -> History:
    """Train as `lorautils.training.train` does, to the end.

    Raises:
        KeyboardInterrupt: a signal ended it before; half a training is no record.
    """
    history = training.train(model, tokenizer, pairs, **options)
    if history.interrupted:
        raise KeyboardInterrupt(f"signal {history.interrupted} ended the training, and nothing of it is recorded")
    return history


def tests(n: int = 200) -> dict[str, list[cron.Example]]:
    """Return the four test sets: n cases of A and of B, and all of C and D."""
    return {"A": cron.test_a(n), "B": cron.test_b(n), "C": cron.test_c(), "D": cron.hand_written("test_d")}


def plain_text(n: int) -> list[Pair]:
    """Return n passages of plain text, cut in the middle; none is of the texts "english", code or tables."""
    words = " ".join(texts.read(kind) for kind in ("prose", "dialogue", "calibration")).split()
    starts = [round(i * (len(words) - 2 * PASSAGE) / n) for i in range(n)]
    middles = [(start, start + PASSAGE, start + 2 * PASSAGE) for start in starts]
    return [Pair(" ".join(words[a:b]), " " + " ".join(words[b:c])) for a, b, c in middles]


def scores(model, tokenizer, n: int = 200, batch_size: int = 64) -> dict[str, dict[str, int]]:
    """Return the counts (n, exact, equivalent, valid) of greedy answers to each test."""
    counts = {}
    for name, examples in tests(n).items():
        answers = evaluate(model, tokenizer, [cron_prompt(e.text) for e in examples], batch_size=batch_size)
        counts[name] = cron.score(answers, examples)._asdict()
    return counts


def scores_with_refusals(model, tokenizer, examples) -> dict[str, int]:
    """Return the counts that `scores` has, and how many answers are NOT_CRON: of schedules, those are lost."""
    answers = evaluate(model, tokenizer, [cron_prompt(e.text) for e in examples], batch_size=64)
    return cron.score(answers, examples)._asdict() | {"refused": sum(answer == cron.NOT_CRON for answer in answers)}


def validation_scores(model, tokenizer) -> dict[str, dict[str, int]]:
    """Return `scores_with_refusals` of each kind of the validation split."""
    kinds = ("hand", "library", "none")
    return {kind: scores_with_refusals(model, tokenizer, cron.hand_written("validation", kind)) for kind in kinds}


@torch.inference_mode()
def held_out_losses(model, tokenizer) -> dict[str, float]:
    """Return the mean cross-entropy (nats per answer token) of the right answers to Test-A and Test-C."""
    model.eval()
    losses = {}
    for name in "AC":
        batch = collate(encode(tokenizer, cron_pairs(tests(200)[name])), tokenizer.pad_token_id)
        batch = {field: tensor.to(device()) for field, tensor in batch.items()}
        losses[name] = round(answer_loss(model, batch).item() / (batch["labels"] >= 0).sum().item(), 4)
    return losses


def outcome(model, tokenizer, history: History) -> dict:
    """Return what is recorded of every training on cron: scores, held-out losses, and what all trainings have."""
    return {
        "scores": scores(model, tokenizer, batch_size=256),
        "held_out_losses": held_out_losses(model, tokenizer),
        **elsewhere(model, tokenizer, history),
    }


def elsewhere(model, tokenizer, history: History) -> dict:
    """Return what is recorded of every training: forgetting, last losses, tokens, seconds."""
    english, tokens = text_loss(model, tokenizer, texts.read("english"))
    return {
        "english_loss": round(english, 4),
        "english_tokens": tokens,
        "text_losses": text_losses(model, tokenizer),
        "skills": skills(model, tokenizer),
        "last_losses": [round(loss, 4) for loss in history.loss[-10:]],
        "trained_tokens": history.trained_tokens,
        "seconds": round(history.seconds, 1),
    }


def append(path: Path, record: dict) -> None:
    """Add one result to a JSON-lines file at once, so that a run that is cut off loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")


def recorded(path: Path) -> list[dict]:
    """Return the results in a JSON-lines file so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def key(run: dict) -> str:
    """Return what tells one run from another."""
    return json.dumps(run, sort_keys=True)


def share_of(runs: list, words: list[str]) -> list:
    """Return the runs of share I of N if the words of a command are ["I/N"], all runs if there are none.

    SystemExit for other words: who counts the shares from 1 would leave out run 0.
    """
    said = " ".join(words)
    found = re.fullmatch(r"(\d+)/(\d+)", said or "0/1")
    index, shares = map(int, found.groups()) if found else (0, 0)
    if index >= shares:
        sys.exit(f"expected a share I/N whose I is 0 to N - 1, such as 0/4, got: {said}")
    return runs[index::shares]
