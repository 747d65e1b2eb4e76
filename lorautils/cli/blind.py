"""Answers of two models side by side, each time in an order drawn at random, for a judge who shall not know whose.

Used by `lorautils evaluate --blind` and `--judged`. The key, in a file of its own, says whose answer is A.
"""

import json
import random
import reprlib
from collections.abc import Sequence
from pathlib import Path

from lorautils.cli import lines

CHOICES = {"A", "B", "="}


def key_of(path: Path) -> Path:
    """Return the file of the key that belongs to a file of pairs."""
    return path.with_name(path.name + ".key.json")


def write(path: Path, names: Sequence[str], prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> int:
    """Write the pairs that differ, and their key; return how many. `names` and `answers` are those of two models."""
    pairs, key = [], []
    for prompt, *both in zip(prompts, *answers, strict=True):
        if both[0] != both[1]:
            first = random.SystemRandom().randrange(2)
            key.append(names[first])
            pairs.append({"prompt": prompt, "A": both[first], "B": both[1 - first], "better": ""})
    path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
    same = len(prompts) - len(pairs)
    key_of(path).write_text(json.dumps({"models": list(names), "same": same, "A": key}) + "\n", encoding="utf-8")
    return len(pairs)


def _key(path: Path) -> dict:
    """Read whose answer is A; ValueError where that is not what `write` wrote."""
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
        first, second = key["models"]
        if isinstance(key["same"], int) and {*key["A"]} <= {first, second} != {first}:
            return key
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise ValueError(f"{path} is not the key that was written with the pairs: bring that back, or write new pairs")


def counted(path: Path) -> str:
    """Return how often each model's answer was judged better; ValueError names a pair that is not judged."""
    from lorautils import results

    judged = [line for line in lines(str(path)) if line.strip()]
    key = _key(key_of(path))
    if len(judged) != len(key["A"]):
        raise ValueError(
            f"{path} has {len(judged)} pairs and its key {len(key['A'])}: bring back the pairs as they were written"
        )
    wins = dict.fromkeys(key["models"], 0)
    for number, (line, a) in enumerate(zip(judged, key["A"], strict=True), start=1):
        try:
            better = json.loads(line)["better"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f'{path}, line {number} is no JSON with "better": only its value may be changed') from None
        if not isinstance(better, str) or better not in CHOICES:
            said = reprlib.repr(better)
            raise ValueError(f'{path}, line {number}: "better" is {said}; write "A", "B" or "=" there')
        other = next(name for name in key["models"] if name != a)
        if better != "=":
            wins[a if better == "A" else other] += 1
    first, second = key["models"]
    said = [
        f"{first} better: {wins[first]}, {second} better: {wins[second]}",
        f"equally good: {len(judged) - sum(wins.values())}",
    ]
    said.append(f"the same answer, not judged: {key['same']}")
    if total := sum(wins.values()):
        said.append(f"of those with a winner, {first} won {results.percent(wins[first], total)}")
    return "\n".join(said)
