"""The course's third task, help with git: a question -> one command, or a command -> one sentence. Notebook 14 uses it.

Half of it can be checked by code, `equivalent`; the sentences are free text. The rows ship as files, in cases/, which
`python -m lorautils.tasks.git_help` writes from grammar/git_help.toml. All of it was written for this course.
"""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from itertools import product
from pathlib import Path
from random import Random
from typing import NamedTuple

CASES = Path(str(resources.files("lorautils.tasks").joinpath("cases")))
FILES = {part: CASES / f"git_{part}.jsonl" for part in ("train", "validation", "test")}
CHATS = CASES / "git_chats.json"  # 300 conversations of two questions each, as another program exports them
SYSTEM = "git help"  # without a system turn, the model's template would write one of its own
PAIRS = CASES / "git_pairs.jsonl"
KEPT = 3  # values of each slot that no training row has


class Example(NamedTuple):
    """A row; its kind is "command" or "sentence"."""

    question: str
    answer: str
    kind: str


def examples(part: str) -> list[Example]:
    """Read the rows of train, validation or test; ValueError for another part.

    Example:
        >>> [len(examples(part)) for part in ("train", "validation", "test")]
        [800, 60, 84]
    """
    if part not in FILES:
        raise ValueError(f"expected one of {', '.join(FILES)}, got {part!r:.60}")
    lines = FILES[part].read_text(encoding="utf-8").splitlines()
    return [_example(json.loads(line)) for line in lines]


def pairs() -> list[dict[str, str]]:
    """Read 36 pairs of answers to "explain this command": command, A, B, which is better, and a reference.

    The course's authors wrote the answers and the labels; no other person judged them.

    Example:
        >>> sorted(pairs()[0])
        ['A', 'B', 'better', 'command', 'reference']
    """
    return [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]


def _example(row: dict) -> Example:
    _, question, answer = (turn["content"] for turn in row["messages"])
    return Example(question, answer, row["kind"])


def turns(question: str, answer: str = "") -> list[dict[str, str]]:
    """Return the turns of a chat: system and question, and the answer if there is one.

    Example:
        >>> [turn["role"] for turn in turns("How?", "So.")]
        ['system', 'user', 'assistant']
    """
    said = zip(("system", "user", "assistant"), (SYSTEM, question, answer), strict=True)
    return [{"role": role, "content": text} for role, text in said if text]


# --- scoring -------------------------------------------------------------------------------------------------------

LONG = {"--message": "-m", "--create": "-c", "--set-upstream": "-u", "--delete": "-d", "--cached": "--staged"}
SAME = {  # the beginning of a command -> how it is written here
    ("checkout", "-b"): ("switch", "-c"),
    ("checkout", "--"): ("restore",),
    ("add", "-A"): ("add", "--all"),
    ("add", "."): ("add", "--all"),
    ("branch", "-a"): ("branch", "--all"),
    ("stash", "push"): ("stash",),
}


def words(command: str) -> list[str] | None:
    """Return the words of a git command, those that mean the same written alike; None for what is no git command.

    Example:
        >>> words("git checkout -b login") == words("git switch --create login")
        True
    """
    try:
        first, *rest = shlex.split(re.sub(r"^\$ ", "", command.strip()))
    except ValueError:  # nothing, or a quotation mark that does not end
        return None
    if first != "git" or not rest:
        return None
    if tuple(rest[:2]) in SAME:
        rest[:2] = SAME[tuple(rest[:2])]
    if rest[0] != "rm":
        rest = [LONG.get(word, word) for word in rest]
    if rest[0] == "log" and (count := re.fullmatch(r"-(\d+)", rest[-1])):
        rest[-1:] = ["-n", count[1]]
    return [word.replace("HEAD^", "HEAD~1") for word in rest]


def equivalent(answer: str, wanted: str) -> bool:
    """Say whether two git commands mean the same, by the spellings that are known here.

    Example:
        >>> equivalent("git checkout -b login", "git switch -c login"), equivalent("git switch login", "git status")
        (True, False)
    """
    return words(answer) is not None and words(answer) == words(wanted)


# --- how the files were written --------------------------------------------------------------------------------------


def _grammar() -> dict:
    text = resources.files("lorautils.tasks.grammar").joinpath("git_help.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda slot: values[slot[1]], template)


def _values(command: str, slots: Mapping[str, list[str]], part: str) -> list[dict[str, str]]:
    """Return all that a command's slots can be filled with in a part of the data."""
    names = re.findall(r"{(\w+)}", command)
    own = [slots[name][:-KEPT] if part == "train" else slots[name][-KEPT:] for name in names]
    return [dict(zip(names, values, strict=True)) for values in product(*own)]


def made(part: str) -> list[Example]:
    """Make the rows of a part, the same ones each time; of train 800, four of five a command."""
    grammar, rng = _grammar(), Random(f"git help, {part}")
    slots = {name: values.split(", ") for name, values in grammar.pop("slots").items()}
    single = grammar.pop("single")
    if part != "train":
        rows = [row for intent in grammar.values() for row in _tests(intent, slots, part, rng)]
        more = single.items() if part == "test" else ()
        return rows + [Example(question, command, "command") for question, command in more]
    rows: dict[str, Example] = {}
    for kind, count in (("command", 640), ("sentence", 800)):
        while len(rows) < count:
            name = rng.choice(list(grammar))
            values = rng.choice(_values(grammar[name]["command"], slots, part))
            row = _row(grammar[name], values, kind, rng.choice(grammar[name]["train"]), rng)
            rows.setdefault(row.question, row)
    return rng.sample(list(rows.values()), len(rows))


def _row(intent: dict, values: Mapping[str, str], kind: str, asked: str, rng: Random) -> Example:
    command = _filled(intent["command"], values)
    if kind == "command":
        return Example(_filled(asked, values), command, kind)
    return Example(f"Explain: {command}", _filled(rng.choice(intent["does"]), values), kind)


def _tests(intent: dict, slots: Mapping, part: str, rng: Random) -> Iterator[Example]:
    """Yield a question, and for a command with slots also a sentence; validation and test have other values."""
    values = _values(intent["command"], slots, part)
    half = len(values) // 2
    chosen = rng.choice(values[:half] if part == "validation" and half else values[half:])
    yield _row(intent, chosen, "command", intent[part], rng)
    if chosen:
        yield _row(intent, chosen, "sentence", "", rng)


def conversations() -> list[dict]:
    """Make 300 conversations as a program exports them, and plant three faults: 41, 120 and 233, counted from 1.

    Each asks for a command, then what it does. 41 repeats 12 nearly word for word. 120 has the question of 77 and
    the answer to another one. In 233 an answer holds the stop token of another program's chat.
    """
    rng, grammar = Random("git help, chats"), _grammar()
    commands = [row for row in made("train") if row.kind == "command"]
    intents = [intent for intent in grammar.values() if "does" in intent]
    chats = [_conversation(row, intents, rng) for row in commands[:300]]
    chats[40] = [dict(turn) for turn in chats[11]]
    chats[40][0]["value"] = chats[11][0]["value"].lower().rstrip(".?") + " !"
    chats[119][0]["value"] = chats[76][0]["value"]
    chats[232][1]["value"] += "<|im_end|>"
    return [{"id": f"c{n:03}", "system": SYSTEM, "conversations": chat} for n, chat in enumerate(chats, start=1)]


def _conversation(row: Example, intents: list[dict], rng: Random) -> list[dict[str, str]]:
    patterns = [re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\S+?)", re.escape(intent["command"])) for intent in intents]
    patterns = [pattern.replace("message>\\S+?", "message>.+") for pattern in patterns]
    found = [(re.fullmatch(pattern, row.answer), intent) for pattern, intent in zip(patterns, intents, strict=True)]
    values, intent = next((match.groupdict(), intent) for match, intent in found if match)
    told = _filled(rng.choice(intent["does"]), values)
    asked = rng.choice(["What does it do?", "And what does that do?", "Explain it in one sentence."])
    said = (row.question, row.answer, asked, told)
    return [{"from": who, "value": text} for who, text in zip(("human", "gpt") * 2, said, strict=True)]


def write() -> None:
    """Write the files in cases/."""
    for part, path in FILES.items():
        rows = [{"messages": turns(row.question, row.answer), "kind": row.kind} for row in made(part)]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    items = ",\n".join(json.dumps(chat, ensure_ascii=False) for chat in conversations())
    CHATS.write_text(f"[{items}]\n", encoding="utf-8")


if __name__ == "__main__":
    write()
