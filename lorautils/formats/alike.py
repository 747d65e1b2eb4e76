"""Which examples are alike, and a held-out part that shares no last prompt with the rest.

Used by `lorautils data` and `train`.
"""

import math
import re
from collections.abc import Sequence

from lorautils.data import Pair
from lorautils.formats.rows import Chat, Text
from lorautils.formats.tokens import Encoded


def bare(text: str) -> str:
    """Return a text without capitals and without the punctuation of sentences, and with single spaces.

    Example:
        >>> bare("At 9:15,  please!") == bare("at 9:15 please") != bare("at 915 please")
        True
    """
    return loose(re.sub(r"[。，！？；：、]|(?<![.,;:!?…])[.,;:!?…]+(?=\s|$)", " ", text))


def loose(text: str) -> str:
    """Return a text without capitals and with single spaces: in an answer a sign can be all, as the minus in -5.

    Example:
        >>> loose("At\\n9!") == loose("at 9!") != loose("at 9")
        True
    """
    return " ".join(text.casefold().split())


def answers(example: Pair | Text | Chat) -> list[tuple[str, str]]:
    """Return each answer that is learned, after what comes before it; of a text, nothing and all of it."""
    if isinstance(example, Pair):
        return [tuple(example)]
    if isinstance(example, Text):
        return [("", example.text)]
    said = [f"[{turn['role']}] {turn['content']}\n" for turn in example.turns]
    return [("".join(said[:place]), example.turns[place]["content"]) for place in example.answers]


def split(sequences: Sequence[Encoded], share: float, seed: int) -> tuple[list[Encoded], list[Encoded]]:
    """Part sequences at random into those to train on and those of a `share` of the prompts, which are held out.

    The prompt of a row's last answer is never in both; ValueError says that none would be left to train on.
    """
    from sklearn.model_selection import GroupShuffleSplit

    groups = [bare(prompt or answer) for prompt, answer in (answers(s.row.example)[-1] for s in sequences)]
    if math.ceil(share * (several := len(set(groups)))) == several:
        raise ValueError(
            f"held_out, {share:g} of {several} different prompts, leaves none to train on: lower it or leave it out"
        )
    chosen = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed).split(sequences, groups=groups)
    return tuple([sequences[number] for number in part] for part in next(chosen))
