"""The exercises of notebook 08: a fair comparison, labels that keep the stop, a leak, a diagnosis, two paired runs.

The conventions behind them: -100 marks a label without loss; merged weight = W + (alpha / r) B A.
"""

import json
import shutil
from math import comb, erfc, sqrt
from pathlib import Path

from safetensors.torch import load_file, save_file

from .engine import Exercise, Mistake

NOTEBOOK = "08_peft_lora_run"

fair_epochs = Exercise(
    name="fair_epochs",
    question="400 examples x 3 epochs in batches of 8 meet batches of 4. How many epochs keep the number of steps?",
    difficulty=1,
    minutes=3,
    hints=(
        "One batch is one step: 50 an epoch with 8, and with 4?",
        "The first run has 150 steps. With batches of 4 an epoch has 100.",
    ),
    source="answer = (3 * 400 / 8) / (400 / 4)  # 150 steps, 100 an epoch",
    takeaway="Three epochs of 4 are twice the steps: a gain there may come from the steps alone.",
    mistakes=(
        Mistake("the same epochs", 3, "with 3 epochs, batches of 4 make 300 steps, and the other run made 150."),
        Mistake("rounded", 2, "2 epochs of 4 are 200 steps. A training may end within an epoch."),
        Mistake("the wrong way", 6, "smaller batches make more steps an epoch, so you need fewer epochs."),
        Mistake("steps", 150, "that is the number of steps. How many epochs are 150 steps of 4?"),
        Mistake("one epoch", 1, "one epoch of 4 is 100 steps, and the other run made 150."),
    ),
)

keep_the_stop = Exercise(
    name="keep_the_stop",
    question="Padding is eos, as is the end of the answer. Write keep_the_stop(ids, length, eos): the padded labels.",
    difficulty=2,
    minutes=8,
    hints=(
        "ids ends with eos, which tells the model to stop, and eos is also the padding. Which labels are -100?",
        "Decide by position, not by value: what lies beyond len(ids) is padding.",
    ),
    source="""def keep_the_stop(ids, length, eos):
    return ids + [-100] * (length - len(ids))  # only what lies beyond the ids is padding""",
    takeaway="A mask by value, label == pad, hides every stop token when the padding is eos.",
    mistakes=(
        Mistake(
            "stop masked",
            lambda ids, length, eos: [-100 if i == eos else i for i in ids + [eos] * (length - len(ids))],
            "every eos is -100, the one that ends the answer too. The model never learns to stop.",
        ),
        Mistake(
            "padding learned",
            lambda ids, length, eos: ids + [eos] * (length - len(ids)),
            "the padding carries loss: short rows would mostly teach the model to repeat eos.",
        ),
        Mistake(
            "padding in front",
            lambda ids, length, eos: [-100] * (length - len(ids)) + ids,
            "the padding of the ids is on the right here, so the labels no longer stand beside their tokens.",
        ),
        Mistake(
            "last stop masked",
            lambda ids, length, eos: ids[:-1] + [-100] * (length - len(ids) + 1),
            "the eos at the end of ids belongs to the answer: without loss on it the model never stops.",
        ),
        Mistake(
            "not padded",
            lambda ids, length, eos: list(ids),
            "labels need `length` entries, as many as the padded ids.",
        ),
    ),
    cases=(([5, 9, 7, 2], 6, 2), ([4, 2, 8, 2], 5, 2), ([3, 2], 2, 2)),
)


def _words(text):
    return sorted(word.strip(".,!?") for word in text.lower().split())


def _leaks(train, test, key=_words):
    known = [key(text) for text in train]
    return [i for i, text in enumerate(test) if key(text) in known]


leaks = Exercise(
    name="leaks",
    question="Write leaks(train, test): the indices of test texts with the words of a training text, in any order.",
    difficulty=2,
    minutes=8,
    hints=(
        "Bring both sides to one form first, in which the order of the words is lost. Then compare.",
        'text.lower().split() gives the words, word.strip(".,!?") takes off marks; sorted() does the rest.',
    ),
    source="""def leaks(train, test):
    def words(text):
        return sorted(word.strip(".,!?") for word in text.lower().split())

    known = [words(text) for text in train]
    return [i for i, text in enumerate(test) if words(text) in known]""",
    takeaway="A near copy in another order. Other words for the same escape this; the nearest text shows them.",
    mistakes=(
        Mistake(
            "exact copies",
            lambda train, test: _leaks(train, test, lambda text: " ".join(text.lower().split()).rstrip(".,!?")),
            "that is the check of section 1. 'at nine on Mondays' and 'on Mondays at nine' are one phrase here.",
        ),
        Mistake(
            "case and ends forgotten",
            lambda train, test: _leaks(train, test, lambda text: sorted(text.split())),
            "'Daily, at nine' and 'At nine daily.' have the same words: take off capitals and marks.",
        ),
        Mistake(
            "the ends of the text alone",
            lambda train, test: _leaks(train, test, lambda text: sorted(text.lower().strip(" .,!?").split())),
            "in another order, a mark stands in the middle: take it off each word.",
        ),
        Mistake(
            "sets of words",
            lambda train, test: _leaks(train, test, lambda text: set(_words(text))),
            "a set counts no word twice: '5 past 5' and 'past 5' are two times of day.",
        ),
        Mistake(
            "sorted letters",
            lambda train, test: _leaks(train, test, lambda text: sorted(c for c in text.lower() if c.isalnum())),
            "sorted letters make 'at 1 15' and 'at 11 5' one: sort the words.",
        ),
        Mistake(
            "part of a text",
            lambda train, test: [i for i, t in enumerate(test) if any(set(_words(t)) <= set(_words(x)) for x in train)],
            "'at 9' is no copy of 'at 9 on Mondays': compare whole texts.",
        ),
        Mistake(
            "the texts",
            lambda train, test: [test[i] for i in _leaks(train, test)],
            "give the indices in `test`, so that nobody has to search for them.",
        ),
        Mistake(
            "the clean ones",
            lambda train, test: [i for i in range(len(test)) if i not in _leaks(train, test)],
            "those are the texts that do not leak.",
        ),
    ),
    cases=(
        (["Daily, at nine", "each  Sunday."], ["at nine daily!", "on Mondays", "Sunday each"]),
        (["at 9 on Mondays"], ["at 9", "on mondays at 9"]),
        (["5 past 5"], ["past 5", "past 5 5"]),
        (["at 1 15"], ["at 11 5", "1 15 at"]),
        (["noon, daily"], ["Noon daily", "noon"]),
        ([], ["noon"]),
    ),
)

diagnosis = Exercise(
    name="diagnosis",
    question="Four copies of one adapter, of which one is sound: which letter belongs to which folder?",
    difficulty=2,
    minutes=10,
    hints=(
        "audit_folder(folder) reads the files without a model. It tells two of the four; on the others it is silent.",
        "One of the two about which it says nothing differs from the original in adapter_config.json.",
    ),
    source='answer = ["b", "d", "a", "c"]',
    takeaway="No audit can know which alpha you meant. Keep the original, and compare.",
    mistakes=(
        Mistake(
            "silence is soundness",
            ["b", "c", "a", "c"],
            "the audit is silent on two, and one of them is sound. Compare each configuration with the original.",
        ),
        Mistake(
            "2 and 4 changed",
            ["b", "c", "a", "d"],
            "the two about which the audit is silent are changed about. Compare each configuration with the original.",
        ),
        Mistake(
            "1 and 3 changed",
            ["a", "d", "b", "c"],
            "in one of them every B is zero; in the other the file holds names that the configuration does not.",
        ),
        Mistake(
            "all sound",
            ["c", "c", "c", "c"],
            "one of the four is sound. Run audit_folder on each.",
        ),
    ),
)


def sabotaged(adapter: str | Path, into: str | Path) -> list[Path]:
    """Return four copies of an adapter's folder, made in `into`: three are broken, each in another way."""
    folders = [Path(into) / f"copy-{number}" for number in (1, 2, 3, 4)]
    for folder in folders:
        shutil.copytree(adapter, folder, dirs_exist_ok=True)
    _configure(folders[0], target_modules=["q_proj"])
    _configure(folders[1], lora_alpha=64)
    file = folders[2] / "adapter_model.safetensors"
    tensors = {name: tensor * ("lora_B" not in name) for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    return folders


def _configure(folder: Path, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _two_sided(one: int, other: int) -> float:
    """The chance of a split as uneven as this, or more, of coins that fall either way."""
    n, few = one + other, min(one, other)
    return min(1.0, 2 * sum(comb(n, k) for k in range(few + 1)) / 2**n)


def _better(first, second, judge=_two_sided):
    one = sum(a and not b for a, b in zip(first, second, strict=True))
    other = sum(b and not a for a, b in zip(first, second, strict=True))
    if judge(one, other) >= 0.05:
        return "cannot tell"
    return "first" if one > other else "second"


def _bell(one: int, other: int) -> float:
    """The same chance by a bell curve, whose spread is the root of the number of coins."""
    return erfc(abs(one - other) / sqrt(2 * max(1, one + other)))


def _by_totals(first, second):
    one, other = sum(first), sum(second)
    return "cannot tell" if one == other else "first" if one > other else "second"


better = Exercise(
    name="better",
    question="Write better(first, second) from right (True) and wrong answers to the same cases: who wins at 5 %?",
    difficulty=3,
    minutes=12,
    hints=(
        "Cases that both got right, or both wrong, say nothing. Count those that only one got right.",
        "If the runs are equally good, each such case is a coin. How likely is a split as uneven as this, either way?",
        "p = 2 * sum(math.comb(n, k) for k in range(min(one, other) + 1)) / 2**n; decide if p < 0.05.",
    ),
    source="""import math

def better(first, second):
    one = sum(a and not b for a, b in zip(first, second))
    other = sum(b and not a for a, b in zip(first, second))
    n = one + other
    p = 2 * sum(math.comb(n, k) for k in range(min(one, other) + 1)) / 2**n
    if p >= 0.05:
        return "cannot tell"
    return "first" if one > other else "second\"""",
    takeaway="The sign test. Pairs decide with fewer cases than two intervals that must not overlap.",
    mistakes=(
        Mistake("the larger count", _by_totals, "a lead of one case may be luck. How likely is it by coins alone?"),
        Mistake(
            "always luck",
            lambda first, second: "cannot tell",
            "some of these splits are too uneven for coins: 6 to 0 happens once in 32.",
        ),
        Mistake(
            "one-sided",
            lambda first, second: _better(first, second, lambda one, other: _two_sided(one, other) / 2),
            "before you looked, either run could have led: count both directions.",
        ),
        Mistake(
            "a bell curve",
            lambda first, second: _better(first, second, _bell),
            "a bell curve is for many coins: 4 to 0 happens once in 8, and it says once in 22. Count exactly.",
        ),
        Mistake(
            "all cases are coins",
            lambda first, second: _better(
                first,
                second,
                lambda one, other: _two_sided(*sorted((sum(first), len(first) - sum(first)))),
            ),
            "only the cases that one alone got right are coins. Leave out those on which the runs agree.",
        ),
        Mistake(
            "changed about",
            lambda first, second: {"first": "second", "second": "first"}.get(b := _better(first, second), b),
            "that names the one that lost.",
        ),
    ),
    cases=(
        ([True] * 6 + [True] * 10, [False] * 6 + [True] * 10),
        ([True] * 5 + [True] * 10, [False] * 5 + [True] * 10),
        ([True] * 4, [False] * 4),
        ([False] * 8 + [True] * 2 + [True] * 20, [True] * 8 + [False] * 2 + [True] * 20),
        ([False] * 9 + [True], [True] * 9 + [False]),
        ([True, False], [True, False]),
        ([True] * 3 + [False] * 3 + [True] * 27, [False] * 3 + [True] * 3 + [True] * 27),
    ),
)
