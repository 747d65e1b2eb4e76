"""Pairs -> token ids -> batches: what a training reads, and which tokens carry loss.

Notebook 08 teaches it. A pair is a prompt and a completion; the end-of-text token is appended to the completion.
input_ids = prompt ids + answer ids; labels = -100 for each prompt token, then the answer ids.
"""

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

IGNORED = -100  # the label that F.cross_entropy skips


class Pair(NamedTuple):
    """One training example: what the model reads, and what it should write."""

    prompt: str
    completion: str


def load_pairs(path: str | Path) -> list[Pair]:
    """Read training pairs from a JSONL file: one `{"prompt": ..., "completion": ...}` a line, used verbatim.

    ValueError names the line that is no such object.
    """
    pairs = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): save it again with UTF-8 encoding") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            pairs.append(_parse_pair(line, f"{path}, line {number}"))
    if not pairs:
        raise ValueError(f'{path} holds no pairs: write one {{"prompt": ..., "completion": ...}} a line')
    return pairs


def _parse_pair(line: str, where: str) -> Pair:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({why_not_json(error)}); one object a line") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: a JSON object was expected, got {type(record).__name__}")
    for name in Pair._fields:
        checked_text(f'{where}: "{name}"', record.get(name))
    unknown = sorted(set(record) - set(Pair._fields))
    if unknown:
        raise ValueError(f'{where}: unknown field {reprlib.repr(unknown[0])}; only "prompt" and "completion" are used')
    return Pair(record["prompt"], record["completion"])


def checked_text(name: str, value: object) -> str:
    """Return a value that a person wrote; ValueError, with its name, where it is no text that can be learned."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a non-empty string, got {reprlib.repr(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} holds half a character, such as \\ud800: write the character itself")
    return value


def why_not_json(error: Exception) -> str:
    """Return what `json.loads` said of a text, and where, of a text of several lines with the line."""
    if not isinstance(error, json.JSONDecodeError):  # such as thousands of digits, or of brackets
        return str(error)
    line = f"line {error.lineno}, " if "\n" in error.doc.strip() else ""
    return f"{error.msg} at {line}column {error.colno}"


def encode(tokenizer, pairs: Sequence[Pair | dict], max_tokens: int = 1024) -> list[dict[str, list[int]]]:
    """Turn pairs into token ids and labels of equal length; prompt tokens carry the label -100.

    A completion that ends in the end-of-text token gets no second one. What is encoded already, a dictionary with
    input_ids and labels, stays as it is.
    """
    if not pairs:
        raise ValueError("no training pairs were given: pass at least one Pair(prompt, completion)")
    features = []
    for number, pair in enumerate(pairs, start=1):
        if isinstance(pair, dict):
            features.append(pair)
            continue
        prompt, completion = pair
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = completion.removesuffix(tokenizer.eos_token) + tokenizer.eos_token
        answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
        input_ids = prompt_ids + answer_ids
        if len(input_ids) > max_tokens:
            raise ValueError(
                f"pair {number} has {len(input_ids)} tokens, at most {max_tokens} are allowed: shorten it, "
                "or leave it out"
            )
        features.append({"input_ids": input_ids, "labels": [IGNORED] * len(prompt_ids) + answer_ids})
    return features


def collate(features: Sequence[dict[str, list[int]]], pad_token_id: int) -> dict[str, "torch.Tensor"]:
    """Pad features on the right to one length: three tensors of shape (batch, tokens).

    Features with position_ids hold several sequences each, in which positions begin anew. They get no attention_mask,
    since positions tell the models of transformers what may not see one another.

    Example:
        >>> rows = [{"input_ids": [5, 6], "labels": [-100, 6]}, {"input_ids": [7], "labels": [7]}]
        >>> collate(rows, pad_token_id=0)["labels"]
        tensor([[-100,    6],
                [   7, -100]])
    """
    import torch  # here: whoever only makes pairs, as the tasks do, needs none of it

    longest = max(len(feature["input_ids"]) for feature in features)

    def padded(name: str, filler: int) -> "torch.Tensor":
        return torch.tensor([f[name] + [filler] * (longest - len(f[name])) for f in features])

    batch = {"input_ids": padded("input_ids", pad_token_id), "labels": padded("labels", IGNORED)}
    if "position_ids" in features[0]:
        return batch | {"position_ids": padded("position_ids", 0)}
    lengths = torch.tensor([len(feature["input_ids"]) for feature in features])
    return batch | {"attention_mask": (torch.arange(longest) < lengths[:, None]).long()}
