"""The third task of the sweeps: family relationships, from the package reasoning-gym (Apache-2.0), frozen in a file.

`python -m experiments.family` wrote data/family.jsonl with reasoning-gym 0.1.25, which the course does not install.
"""

import json
from pathlib import Path
from random import Random

from lorautils.data import Pair

DATA = Path(__file__).parent / "data" / "family.jsonl"
TRAINED, TESTED = 800, 200  # the last rows of the file are the test


def rows() -> list[dict[str, str]]:
    """Return the questions with their answers of one word, such as "aunt"."""
    return [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]


def pair(row: dict[str, str]) -> Pair:
    """Return a question in the chat format of the base model, with its answer."""
    return Pair(f"<|im_start|>user\n{row['question']}<|im_end|>\n<|im_start|>assistant\n", row["answer"])


def train_pairs(n: int, seed: int) -> list[Pair]:
    """Return n of the training questions, drawn by the seed."""
    return [pair(row) for row in Random(seed).sample(rows()[:TRAINED], n)]


def test_pairs() -> list[Pair]:
    """Return the questions that no training reads."""
    return [pair(row) for row in rows()[TRAINED:]]


def main() -> None:
    """Write the file."""
    import reasoning_gym

    drawn = reasoning_gym.create_dataset("family_relationships", size=TRAINED + TESTED, seed=20261129)
    lines = [json.dumps({"question": row["question"], "answer": row["answer"]}) for row in drawn]
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
