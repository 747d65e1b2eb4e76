"""Rows -> examples: which of the known formats a row has, in the terms of TRL: a pair, a chat, or a text.

Used by `lorautils data`, `train` and `evaluate`. A format is told by its fields; other fields are ignored, and counted.
"""

import json
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lorautils.data import Pair, checked_text
from lorautils.formats import files

FORMATS = {  # the fields that a row must have, and those that it may have; the first that fits is taken
    "messages": (("messages",), ()),
    "conversations": (("conversations",), ("system",)),
    "prompt and completion": (("prompt", "completion"), ()),
    "instruction and output": (("instruction", "output"), ("input", "system")),
    "text": (("text",), ()),
}
KNOWN = (
    '"messages", "conversations", "prompt" and "completion", "instruction" and "output" with or without "input", "text"'
)
OTHER_NAMES = {  # of the fields of people's files
    "prompt": ("question", "query", "input", "instruction", "user", "context", "source"),
    "completion": ("answer", "response", "output", "chosen", "assistant", "target", "reply"),
    "messages": ("conversation", "dialogue", "dialog", "chat", "turns"),
    "text": ("content", "document", "body"),
}
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}
ROLES |= {role: role for role in ("system", "user", "assistant")}
TURN = ({"role", "content"}, {"from", "value"})  # the fields of a turn, the second as ShareGPT has them
LONGEST, TURNS = 1_000_000, 1_000  # characters, and turns, of an example: with more, tokens take gigabytes or hours


class Text(NamedTuple):
    """A text that is trained on from its first token to its last."""

    text: str


class Chat(NamedTuple):
    """Turns, each {"role": ..., "content": ...}; answers among the first `given` belong to the prompt, without loss."""

    turns: list[dict[str, str]]
    given: int = 0

    @property
    def answers(self) -> list[int]:
        """The places of the turns that are learned."""
        return [n for n, turn in enumerate(self.turns) if turn["role"] == "assistant" and n >= self.given]


class Row(NamedTuple):
    """An example, and where it stands in the files."""

    where: str
    example: Pair | Text | Chat


@dataclass
class Data:
    """What files hold: the examples, how many have which format, the fields that were ignored, and what is refused."""

    rows: list[Row] = field(default_factory=list)
    formats: Counter = field(default_factory=Counter)
    ignored: Counter = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)

    def whole(self) -> "Data":
        """Return the data, if every row of the files is an example; ValueError names the first that is none."""
        if self.refused:
            more = f" (and {len(self.refused) - 1} more rows: `lorautils data` lists them)" if self.refused[1:] else ""
            raise ValueError(self.refused[0] + more)
        return self


def read(paths: Sequence[str | Path], rename: Mapping[str, str] | None = None, chat: bool = False) -> Data:
    """Read training examples from files of any of the known formats; `rename` gives fields the names that are known.

    `chat` makes turns of strings: the prompt is what a user says, and the completion what the assistant answers.
    ValueError or OSError names a file that cannot be read, or says what it holds where no row is an example.
    """
    data = Data()
    for where, fields, problem in files.records(paths):
        try:
            if problem:
                raise ValueError(problem)
            named = {(rename or {}).get(name, name): value for name, value in fields.items()}
            if len(named) < len(fields):
                raise ValueError(f"rename gives two fields one name; the fields are {_names(fields)}")
            _add(data, where, named, chat)
        except ValueError as error:
            data.refused.append(f"{where}: {error}")
    if not data.rows:
        data.whole()
        raise ValueError(f"{', '.join(map(str, paths))}: no rows are in it; one example a row was expected")
    return data


def _add(data: Data, where: str, fields: dict, chat: bool) -> None:
    there = {name: value for name, value in fields.items() if value is not None}  # Parquet has None for what is not
    name = next((name for name, (needed, _) in FORMATS.items() if there.keys() >= {*needed}), None)
    if name is None:
        raise ValueError(_unknown(there))
    needed, more = FORMATS[name]
    example = MAKE[name](there)
    _check_size(example)
    if chat and isinstance(example, Pair):
        example = Chat(
            [{"role": role, "content": text} for role, text in zip(("user", "assistant"), example, strict=True)]
        )
    data.rows.append(Row(where, example))
    data.formats[name] += 1
    data.ignored.update(str(other) for other in there.keys() - {*needed, *more})


def _check_size(example: Pair | Text | Chat) -> None:
    texts = [turn["content"] for turn in example.turns] if isinstance(example, Chat) else [*example]
    characters = sum(map(len, texts))
    if characters > LONGEST or len(texts) > TURNS:
        size = f"{characters:,} characters in {len(texts):,} texts"
        raise ValueError(f"{size}, at most {LONGEST:,} in {TURNS:,} are read: make several rows of it")


def _unknown(fields: dict) -> str:
    """Say which fields a row has, which formats are known, and the nearest way to one of them."""
    said = f"the fields are {_names(fields)}; known are {KNOWN}. Next: "
    lower = {str(name).lower(): str(name) for name in reversed(fields)}
    ways = {}
    for known, others in OTHER_NAMES.items():
        ways[known] = next((lower[other] for other in (known, *others) if other in lower), None)
    for needed in (("prompt", "completion"), ("messages",), ("text",)):
        if all(ways[name] for name in needed):
            pairs = ",".join(f"{ways[name]}={name}" for name in needed if ways[name] != name)
            return f"{said}--rename {pairs}"
    for needed, _ in FORMATS.values():
        missing = [name for name in needed if name not in fields]
        if 0 < len(missing) < len(needed):
            return f'{said}add "{missing[0]}"'
    lists = [name for name, value in fields.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if lists:
        return f'{said}the list in "{lists[0]:.40}" may be the examples: save that list alone as a JSON array'
    return f"{said}give two of the fields these names, such as --rename {next(iter(fields), 'question'):.40}=prompt,…"


def _names(fields: dict) -> str:
    return ", ".join(reprlib.repr(str(name)) for name in list(fields)[:12]) or "none"


# --- one function a format: the fields -> an example, or ValueError ---------------------------------------------------


def _messages(fields: dict) -> Chat:
    return _chat(_turns("messages", fields["messages"]))


def _conversations(fields: dict) -> Chat:
    return _chat(_system(fields) + _turns("conversations", fields["conversations"]))


def _prompt_and_completion(fields: dict) -> Pair | Chat:
    prompt, completion = (_from_a_cell(fields[name]) for name in ("prompt", "completion"))
    if isinstance(prompt, list) != isinstance(completion, list):
        raise ValueError('"prompt" and "completion" must both be strings, or both be lists of turns')
    if isinstance(prompt, list):
        given = _turns("prompt", prompt)
        return _chat(given + _turns("completion", completion), len(given))
    return Pair(checked_text('"prompt"', prompt), checked_text('"completion"', completion))


def _instruction_and_output(fields: dict) -> Chat:
    """The instruction, an empty line and the input are what the user says."""
    asked = checked_text('"instruction"', fields["instruction"])
    if more := fields.get("input"):
        asked += "\n\n" + checked_text('"input"', more)
    answer = {"role": "assistant", "content": checked_text('"output"', fields["output"])}
    return Chat([*_system(fields), {"role": "user", "content": asked}, answer])


def _text(fields: dict) -> Text:
    return Text(checked_text('"text"', fields["text"]))


MAKE = dict(
    zip(FORMATS, (_messages, _conversations, _prompt_and_completion, _instruction_and_output, _text), strict=True)
)


def _system(fields: dict) -> list[dict[str, str]]:
    return [{"role": "system", "content": checked_text('"system"', fields["system"])}] if fields.get("system") else []


def _turns(name: str, value: object) -> list[dict[str, str]]:
    turns = _from_a_cell(value)
    if not isinstance(turns, list) or not turns:
        raise ValueError(f'"{name}" must be a list of turns, or in a table its JSON, got {reprlib.repr(value)}')
    return [_turn(f"turn {number} of {name}", turn) for number, turn in enumerate(turns, start=1)]


def _from_a_cell(value: object) -> object:
    """Return the turns that a table holds as JSON in a cell; any other value as it is, other JSON too."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            turns = json.loads(value)
            if turns and any(all(isinstance(turn, dict) and turn.keys() >= names for turn in turns) for names in TURN):
                return turns
    return value


def _turn(name: str, turn: object) -> dict[str, str]:
    """One turn: {"role": ..., "content": ...}, or ShareGPT's {"from": ..., "value": ...}."""
    if not isinstance(turn, dict):
        raise ValueError(f"{name} must be an object with role and content, got {reprlib.repr(turn)}")
    if turn.get("tool_calls"):
        raise ValueError(f"{name} calls tools, which is not supported: leave such a conversation out")
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"{name} has the role {reprlib.repr(role)}; known are {', '.join(ROLES)}")
    if isinstance(content, list):  # parts, of which only text is read
        kinds = sorted({str(part.get("type")) if isinstance(part, dict) else type(part).__name__ for part in content})
        if kinds != ["text"]:
            raise ValueError(f"{name} has parts of the kind {', '.join(kinds)[:80] or 'none'}; only text is read")
        content = "".join(checked_text(name, part.get("text")) for part in content)
    if (ROLES[role], content) != ("system", ""):  # which some programs write for "no system prompt"
        checked_text(name, content)
    return {"role": ROLES[role], "content": content}


def _chat(turns: list[dict[str, str]], given: int = 0) -> Chat:
    chat = Chat(turns, given)
    if not chat.answers:
        raise ValueError("no turn of the assistant is there to learn from: leave this chat out, or add its answer")
    if all(turn["role"] == "system" for turn in turns[: chat.answers[0]]):
        raise ValueError(
            "the assistant speaks first: are the roles swapped? Otherwise put the turn before it that it answers, or "
            "leave this turn out"
        )
    return chat
