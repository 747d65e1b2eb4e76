"""What the sweeps train on besides English -> cron: orders -> JSON, family relationships, and random pairs.

A sweep whose name starts with "orders:", "family:" or "pairs:" is on that task; "A" is its one test.
"""

import re
from functools import cache
from random import Random

from torch import nn

from experiments.family import test_pairs, train_pairs
from lorautils import texts
from lorautils.data import Pair
from lorautils.evaluation import evaluate
from lorautils.tasks import cron, orders

CASES = 200
KEY_WORDS, VALUE_WORDS = 3, 4


def random_pairs(n: int, seed: int) -> list[Pair]:
    """Return n pairs of random words with random words, which can only be learned by heart."""
    words = sorted(set(re.findall(r"\b[a-z]{3,8}\b", texts.read("prose"))))
    rng = Random(seed)
    lines = [(rng.sample(words, KEY_WORDS), rng.sample(words, VALUE_WORDS)) for _ in range(n)]
    prompt = "<|im_start|>user\nPair: {}<|im_end|>\n<|im_start|>assistant\n"
    return [Pair(prompt.format(" ".join(key)), " ".join(value)) for key, value in lines]


@cache
def unseen_orders() -> list[orders.Example]:
    """Return orders in new sentences with new products and customers."""
    return orders.held_out(CASES)["all"]


def training_pairs(task: str, n: int, seed: int) -> list[Pair]:
    """Return n pairs of a task."""
    if task == "orders":
        return orders.order_pairs(orders.train_examples(n, seed=seed))
    if task == "family":
        return train_pairs(n, seed)
    if task == "pairs":
        return random_pairs(n, seed)
    return cron.cron_pairs(cron.train_examples(n, seed=seed))


def right_answers(task: str, model: nn.Module, tokenizer, pairs: list[Pair]) -> dict[str, dict[str, int]]:
    """Return how many answers are right: to unseen cases, and for "pairs" to those that were learned by heart."""
    if task == "orders":
        prompts = [orders.order_prompt(example.text) for example in unseen_orders()]
        answers = evaluate(model, tokenizer, prompts, batch_size=256, max_new_tokens=orders.ANSWER_TOKENS)
        return {"A": {"n": CASES, "exact": orders.score(answers, unseen_orders()).exact}}
    asked = test_pairs() if task == "family" else pairs[:CASES]
    answers = evaluate(model, tokenizer, [pair.prompt for pair in asked], batch_size=256)
    right = sum(answer.strip() == pair.completion for answer, pair in zip(answers, asked, strict=True))
    return {"A": {"n": len(asked), "exact": right}}
