"""What a training would make of data: counts, what looks wrong, and one example token by token with its loss.

Used by `lorautils data`, and by `train` before its first step.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import median
from typing import NamedTuple

from lorautils.data import IGNORED, Pair
from lorautils.formats.alike import answers, bare, loose
from lorautils.formats.rows import Chat, Data, Row
from lorautils.formats.tokens import Encoded

SHOWN = 400  # tokens of the first example
MARKS = re.compile(r"<\|[a-z]\w*\|>|<(?:start|end)_of_turn>|\[/?INST\]|</s>(?=\s*$)")  # of the templates in use


class Finding(NamedTuple):
    """A line of the report: the level is note, or PROBLEM for what a training would do wrong."""

    level: str
    text: str


def counts(data: Data, sequences: Sequence[Encoded], batch_size: int) -> str:
    """Return how many examples and tokens there are, how long, how many of them with loss, and how much is padding."""
    from lorautils.training import LengthSortedSampler

    lengths = [len(sequence.input_ids) for sequence in sequences]
    longest = max(sequences, key=lambda sequence: len(sequence.input_ids))
    with_loss = sum(label != IGNORED for sequence in sequences for label in sequence.labels[1:])
    order = list(LengthSortedSampler(lengths, batch_size, seed=0))
    batches = [[lengths[index] for index in order[at : at + batch_size]] for at in range(0, len(order), batch_size)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    formats = ", ".join(f"{count:,} {name}" for name, count in data.formats.items())
    middle, most = f"{median(lengths):,.0f}", f"{max(lengths):,}"
    padding = 1 - sum(lengths) / padded
    lines = {
        "examples": f"{len(data.rows):,} ({formats})",
        "sequences": f"{len(sequences):,}, of which each is trained on once an epoch",
        "tokens": f"{sum(lengths):,}; the median sequence has {middle}, the longest {most}, {longest.row.where}",
        "with loss": f"{with_loss:,} tokens, {with_loss / sum(lengths):.0%}",
        "padding": f"{padding:.0%} of a batch of {batch_size}, where `train` puts similar lengths together",
    }
    return "\n".join(f"{name:10} {text}" for name, text in lines.items())


def shown(tokenizer, sequence: Encoded, width: int = 110) -> str:
    """Return the tokens of a sequence in quotation marks, in lines that say whether loss is on them."""
    lines = []
    for with_loss, pieces in groupby(_pieces(tokenizer, sequence), key=itemgetter(0)):
        lines.append("LOSS    " if with_loss else "no loss ")
        for _, piece in pieces:
            if len(lines[-1]) + len(piece) >= width:
                lines.append(" " * 8)
            lines[-1] += " " + piece
    if len(sequence.input_ids) > SHOWN:
        lines.append(f"and {len(sequence.input_ids) - SHOWN:,} more tokens")
    return "\n".join(lines)


def _pieces(tokenizer, sequence: Encoded) -> Iterator[tuple[bool, str]]:
    """Yield each token's text and whether loss is on it; tokens that make one character only together are one piece."""
    waiting: list[int] = []
    for token, label in list(zip(sequence.input_ids, sequence.labels, strict=True))[:SHOWN]:
        waiting.append(token)
        text = tokenizer.decode(waiting)
        if not text.endswith("\ufffd") or len(waiting) == 4:
            yield label != IGNORED, repr(text) + (f"={len(waiting)} tokens" if len(waiting) > 1 else "")
            waiting = []


def findings(
    tokenizer, data: Data, sequences: Sequence[Encoded], refused: Sequence[str], max_length: int
) -> Iterator[Finding]:
    """Yield what looks wrong, and what a reader should know; `refused` are the rows that `encode_rows` did not take."""
    cannot = [*data.refused, *refused]
    if cannot:
        yield Finding("PROBLEM", f"rows that cannot be used: {len(cannot):,}\n{_listed(_mixed(cannot))}")
    long = [sequence for sequence in sequences if len(sequence.input_ids) > max_length]
    if long:
        some = _listed([f"{sequence.row.where}: {len(sequence.input_ids):,} tokens" for sequence in long])
        yield Finding("PROBLEM", f"sequences over the limit of {max_length:,} tokens: {len(long):,}\n{some}")
    rows = list({id(sequence.row): sequence.row for sequence in sequences}.values())  # a file can be named twice
    yield from _alike(rows)
    yield from _marks(tokenizer, rows)
    yield from _order(rows)
    if len(sequences) > len(rows):
        text = "each answer of a chat is a sequence of its own, since the model's template rewrites earlier turns"
        yield Finding("note", text)
    chats = [row for row in rows if isinstance(row.example, Chat)]
    unread = [row for row in chats if row.example.turns[-1]["role"] != "assistant"]
    if unread:
        yield Finding(
            "note", f"chats that do not end in an answer, so that nothing learns from their end: {_some(unread)}"
        )
    if data.ignored:
        more = f" and {len(data.ignored) - 12:,} more" if len(data.ignored) > 12 else ""
        yield Finding("note", f"ignored fields: {', '.join(name[:40] for name in sorted(data.ignored)[:12])}{more}")


def _alike(rows: Sequence[Row]) -> Iterator[Finding]:
    """Rows that say the same, and rows that ask the same and answer otherwise."""
    same, asked = defaultdict(list), defaultdict(dict)
    for row in rows:
        learned = answers(row.example)
        same[bare(learned[-1][0]), loose(learned[-1][1])].append(row)
        for prompt, answer in learned:
            if prompt:
                asked[loose(prompt)].setdefault(loose(answer), row)
    again = [group for group in same.values() if len(group) > 1]
    if again:
        text = f"rows that repeat another, word for word or nearly so: {sum(map(len, again)) - len(again):,}"
        yield Finding("PROBLEM", f"{text}\n{_listed([_some(group) for group in again])}")
    several = [list(found.values()) for found in asked.values() if len(found) > 1]
    if several:
        text = f"prompts with several answers, of which a model learns a mixture: {len(several):,}"
        yield Finding("PROBLEM", f"{text}\n{_listed([_some(group) for group in several])}")


def _marks(tokenizer, rows: Sequence[Row]) -> Iterator[Finding]:
    """Special tokens where they should not be, or not where they should."""
    chats = [row for row in rows if isinstance(row.example, Chat)]
    marks = tokenizer.all_special_tokens
    inside = [row for row in chats if any(_holds(turn["content"], marks) for turn in row.example.turns)]
    if inside:
        yield Finding("PROBLEM", f"special tokens of the model inside the text of a turn: {_some(inside)}")
    foreign = {row.where: found for row in rows if (found := _foreign(tokenizer, row))}
    if foreign:
        named = ", ".join(sorted(set().union(*foreign.values())))
        text = f"marks of a template, which this tokenizer reads as common letters, {named}; take them away"
        yield Finding("PROBLEM", f"{text}: {_some([row for row in rows if row.where in foreign])}")
    pairs = [row for row in rows if isinstance(row.example, Pair)]
    ended = [row for row in rows if not isinstance(row.example, Chat) and row.example[-1].endswith(tokenizer.eos_token)]
    if ended:
        text = f"{tokenizer.eos_token}, the stop token, ends these already, and is not added again: {_some(ended)}"
        yield Finding("note", text)
    if tokenizer.chat_template and pairs and not any(_holds(row.example.prompt, marks) for row in pairs):
        text = (
            "prompts are used as written, without the marks of the model's chat template; --chat true makes them turns"
        )
        yield Finding("note", text)


def _foreign(tokenizer, row: Row) -> set[str]:
    """Return the marks in what a row teaches that neither the tokenizer nor its template knows."""
    example = row.example
    texts = [turn["content"] for turn in example.turns] if isinstance(example, Chat) else [example[-1]]
    own = tokenizer.get_added_vocab()
    found = {mark for text in texts for mark in MARKS.findall(text)}
    return {mark for mark in found if mark not in own and mark not in str(tokenizer.chat_template)}


def _order(rows: Sequence[Row]) -> Iterator[Finding]:
    """Turns in an order that a template writes without a word, and that a model has hardly met."""
    roles = [(row, [turn["role"] for turn in row.example.turns]) for row in rows if isinstance(row.example, Chat)]
    late = [row for row, speakers in roles if "system" in speakers[1:]]
    if late:
        yield Finding("PROBLEM", f"system turns that are not the first turn; join them to the first: {_some(late)}")
    without = [row for row, speakers in roles if speakers[0] != "system"]
    if 0 < len(without) < len(roles):
        text = f"chats without a system turn, while others have one: {len(without):,}; the template may add its own"
        yield Finding("note", text)
    twice = [row for row, speakers in roles if any(a == b != "system" for a, b in pairwise(speakers))]
    if twice:
        yield Finding("note", f"chats in which one side speaks twice in a row: {_some(twice)}")


def _holds(text: str, marks: Sequence[str]) -> bool:
    return any(mark in text for mark in marks)


def _listed(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - 5:,} more"] if len(texts) > 5 else []
    return "\n".join(f"         {text}" for text in [*texts[:5], *more])


def _mixed(refused: Sequence[str]) -> list[str]:
    """Return the sentences with one of each kind first, so that a list that is cut hides no kind behind another."""
    firsts = set({re.sub(r"\d+", "", text.partition(": ")[2]): text for text in reversed(refused)}.values())
    return sorted(refused, key=lambda text: text not in firsts)


def _some(rows: Sequence[Row]) -> str:
    return "; ".join(row.where for row in rows[:3]) + (f"; and {len(rows) - 3:,} more" if len(rows) > 3 else "")
