"""Examples -> token ids and labels, as training reads them: -100 where no loss is.

Used by `lorautils data`, `train` and `evaluate`. A chat goes through the model's own template. Its answers are found by
prefixes: an answer is what the template adds to the turns before it and its generation prompt, up to the stop token.
"""

from collections.abc import Sequence, Set
from typing import NamedTuple

from lorautils.data import IGNORED, Pair, encode
from lorautils.formats.rows import Chat, Row, Text

UNLIMITED = 10**9


class Encoded(NamedTuple):
    """The token ids of one sequence and their labels, the row it came from, and which of the row's answers is in it."""

    row: Row
    input_ids: list[int]
    labels: list[int]

    @property
    def feature(self) -> dict[str, list[int]]:
        """What `training.train` takes beside pairs."""
        return {"input_ids": self.input_ids, "labels": self.labels}


def stop_tokens(tokenizer) -> set[int]:
    """Return the ids at which a model of this tokenizer stops to write: the tokenizer's, and the model's own list."""
    from transformers import GenerationConfig

    ends = {tokenizer.eos_token_id}
    try:
        own = GenerationConfig.from_pretrained(tokenizer.name_or_path).eos_token_id
    except OSError:  # a model need not have the file
        own = None
    return (ends | set(own if isinstance(own, list) else [own])) - {None}


def encode_rows(tokenizer, rows: Sequence[Row]) -> tuple[list[Encoded], list[str]]:
    """Encode rows for training; return the sequences, and a sentence for each row that the tokenizer cannot take."""
    stops = stop_tokens(tokenizer)
    if tokenizer.eos_token is None:
        raise ValueError(
            "the tokenizer has no end-of-text token, so a model could not learn to stop: set its eos_token"
        )
    sequences, refused = [], []
    for row in rows:
        try:
            sequences += tokens(tokenizer, row, stops)
        except ValueError as error:
            refused.append(f"{row.where}: {error}")
    return sequences, refused


def tokens(tokenizer, row: Row, stops: Set[int]) -> list[Encoded]:
    """Encode one row: one sequence, or one for each answer of a chat, where the template rewrites earlier turns.

    ValueError says what the template, or the tokenizer, cannot do with it.
    """
    example = row.example
    if isinstance(example, Pair):
        feature = encode(tokenizer, [example], max_tokens=UNLIMITED)[0]
        return [Encoded(row, feature["input_ids"], feature["labels"])]
    if isinstance(example, Text):  # as TRL: with the tokenizer's own marks around it
        ids = tokenizer(example.text.removesuffix(tokenizer.eos_token) + tokenizer.eos_token)["input_ids"]
        return [Encoded(row, ids, list(ids))]
    for number, turn in enumerate(example.turns, start=1):
        if not stops.isdisjoint(_ids(tokenizer, turn["content"])):
            raise ValueError(f"turn {number} holds a stop token in its text; the template writes it, so take it away")
    spans = [_span(tokenizer, example.turns, answer, stops) for answer in example.answers]
    ids = spans[-1].ids  # of the turns up to the last answer
    if all(span.ids == ids[: len(span.ids)] for span in spans):
        return [_sequence(row, ids, spans)]
    return [_sequence(row, span.ids, [span]) for span in spans]


def render(tokenizer, turns: Sequence[dict[str, str]], ask: bool = False) -> str:
    """Return the turns as the model's template writes them; `ask` adds what precedes an answer."""
    if not tokenizer.chat_template:
        raise ValueError(
            "the model's tokenizer has no chat template: take the instruct version of the model, or write prompt and "
            "completion as strings"
        )
    try:
        return tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=ask)
    except Exception as error:  # a template raises what it wants, such as "System role not supported"
        raise ValueError(f"the model's chat template refuses these turns: {error}") from None


def asked(tokenizer, example: Pair | Chat) -> tuple[str, str]:
    """Return the prompt of an example's last answer, as the model is asked in use, and that answer."""
    if isinstance(example, Pair):
        return example.prompt, example.completion.removesuffix(tokenizer.eos_token)
    last = example.answers[-1]
    return render(tokenizer, example.turns[:last], ask=True), example.turns[last]["content"]


class _Span(NamedTuple):
    """The tokens of a chat up to an answer's stop token, and the place where the answer begins."""

    ids: list[int]
    start: int


def _span(tokenizer, turns: Sequence[dict[str, str]], answer: int, stops: Set[int]) -> _Span:
    """Encode the turns up to an answer: the prompt as the model is asked in use, then what the template adds to it."""
    asked, answered = render(tokenizer, turns[:answer], ask=True), render(tokenizer, turns[: answer + 1])
    if not answered.startswith(asked):
        raise ValueError(_differs(answer, asked, answered))
    prompt, ids = _ids(tokenizer, asked), _ids(tokenizer, answered)
    if ids[: len(prompt)] != prompt:  # the first token of the answer merged with the last of the prompt
        apart = prompt + _ids(tokenizer, answered[len(asked) :])
        if tokenizer.decode(apart) != tokenizer.decode(ids):
            raise ValueError(f"turn {answer + 1} begins with what merges with the prompt: take away its first spaces")
        ids = apart
    stop = next((place for place in range(len(prompt), len(ids)) if ids[place] in stops), None)
    if stop is None:
        raise ValueError(
            f"the template ends turn {answer + 1} with {answered[-12:]!r}, without a stop token of the model, "
            f"{tokenizer.decode(sorted(stops))!r}: it would never learn to stop"
        )
    return _Span(ids[: stop + 1], len(prompt))


def _sequence(row: Row, ids: list[int], spans: Sequence[_Span]) -> Encoded:
    labels = [IGNORED] * len(ids)
    for span in spans:
        labels[span.start : len(span.ids)] = ids[span.start : len(span.ids)]
    return Encoded(row, ids, labels)


def _ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _differs(answer: int, asked: str, answered: str) -> str:
    """Say where a prompt, as the model is asked in use, differs from what the finished chat holds in its place."""
    pairs = enumerate(zip(asked, answered, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), len(answered))
    return (
        f"before turn {answer + 1} the model's chat template asks with {asked[place:][:40]!r}, but a finished chat has "
        f"{answered[place:][:40]!r} there: training would not be what is used; take a model whose template agrees"
    )
