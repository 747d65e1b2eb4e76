"""The exercises of notebook 14: the mask of a two-turn chat, three faults in a chat export, and when to stop.

The export is lorautils/tasks/cases/git_chats.json; `lorautils.tasks.git_help` says what was planted.
"""

from .engine import Exercise, Mistake

NOTEBOOK = "14_your_own_data"

mask = Exercise(
    name="mask",
    question="Which of the 15 places, counted from 0, have a label other than -100? A list of numbers.",
    difficulty=2,
    minutes=6,
    hints=(
        "A model must learn what it writes itself in use. Who writes `<bot>`, and who writes `</s>`?",
        "Both answers count, each with the stop token that ends it. `</s>` after the user's words is no answer.",
    ),
    source="answer = [5, 6, 7, 12, 13, 14]",
    takeaway="Whatever the template looks like: the model's own words, each answer with its stop token.",
    mistakes=(
        Mistake(
            "no stop token",
            [5, 6, 12, 13],
            "the words are right. But who teaches the model to end an answer?",
        ),
        Mistake("the last answer only", [12, 13, 14], "the first answer is as good as the second: learn from both."),
        Mistake("the first answer only", [5, 6, 7], "the second answer is as good as the first: learn from both."),
        Mistake(
            "the mark of the turn",
            [4, 5, 6, 7, 11, 12, 13, 14],
            "`<bot>` belongs to the generation prompt: in use the program writes it, not the model.",
        ),
        Mistake(
            "every stop token",
            [3, 5, 6, 7, 10, 12, 13, 14],
            "places 3 and 10 end what the user says. The model would learn to stop people.",
        ),
        Mistake(
            "one place early",
            [4, 5, 6, 11, 12, 13],
            "those are the places that predict. A label stands at the token itself; the loss shifts it.",
        ),
        Mistake(
            "one place late",
            [6, 7, 8, 13, 14, 15],
            "count from 0, as Python does.",
        ),
        Mistake(
            "the users too",
            list(range(15)),
            "with loss everywhere the model also learns to write what users say.",
        ),
    ),
)


faults = Exercise(
    name="faults",
    question="Which three conversations would you take out? Their item numbers, from the smallest.",
    difficulty=2,
    minutes=8,
    hints=(
        "Two calls find them: `tokens.encode_rows` returns what it refuses, `report.findings` says what looks wrong.",
        "Two findings name a pair. Of a repetition take out the later one. Of two answers to one question take out the "
        "one that is wrong: read both.",
    ),
    source="answer = [41, 120, 233]",
    takeaway="One repeats, one contradicts, one has a stop token inside. A program finds them; which answer is wrong "
    "only a reader can say.",
    mistakes=(
        Mistake(
            "the earlier copy", [12, 120, 233], "that works too. Of two copies the exercise asks for the later one."
        ),
        Mistake(
            "the right answer",
            [41, 77, 233],
            "read 77 and 120: the question is about a branch at a remote. Whose answer is about that?",
        ),
        Mistake(
            "the right answer, and the earlier copy",
            [12, 77, 233],
            "read 77 and 120 once more, and of two copies take the later one.",
        ),
        Mistake(
            "whole pairs",
            [12, 41, 77, 120, 233],
            "of each pair one conversation is good. Take out three, not five.",
        ),
        Mistake("counted from 0", [40, 119, 232], "the items are counted from 1, as the report does."),
    ),
)


stop = Exercise(
    name="stop",
    question="Write stop(losses, patience): how many looks are made, and the index of the one that is kept.",
    difficulty=2,
    minutes=10,
    hints=(
        "Go through the looks in order. Remember the lowest loss and where it was; count looks that were not lower.",
        "The count begins anew after each new lowest loss. An equal loss is not lower. Nobody can look past the end.",
    ),
    source="""def stop(losses, patience):
    best = 0
    for look, loss in enumerate(losses):
        if loss < losses[best]:
            best = look
        elif look - best >= patience:
            break
    return look + 1, best""",
    takeaway="That is what patience does in `train`. A lower loss behind the end is never seen: patience costs looks.",
    mistakes=(
        Mistake(
            "knows the future",
            lambda losses, patience: (len(losses), losses.index(min(losses))),
            "that is the lowest of all looks. A run that has ended does not know what would have come.",
        ),
        Mistake(
            "keeps the last",
            lambda losses, patience: (_ended(losses, patience)[0], _ended(losses, patience)[0] - 1),
            "the run ends there, but kept is the state of the lowest loss, not the last.",
        ),
        Mistake(
            "not in a row",
            lambda losses, patience: _ended(losses, patience, row=False),
            "the looks in vain must stand in a row: a new lowest loss sets the count back to 0.",
        ),
        Mistake(
            "equal counts as lower",
            lambda losses, patience: _ended(losses, patience, equal=True),
            "an equal loss is not a lower one: it counts as a look in vain.",
        ),
        Mistake(
            "one look too many",
            lambda losses, patience: _ended(losses, patience + 1),
            "with patience 2, the second look in vain ends the run.",
        ),
        Mistake(
            "an index for a number",
            lambda losses, patience: (_ended(losses, patience)[0] - 1, _ended(losses, patience)[1]),
            "the first is how many looks there were: the index of the last, plus one.",
        ),
        Mistake(
            "the other order",
            lambda losses, patience: _ended(losses, patience)[::-1],
            "first the number of looks, then the index.",
        ),
    ),
    cases=(
        ([3.0, 2.0, 1.0], 2),
        ([3.0, 2.0, 2.5, 2.4, 1.0], 2),
        ([3.0, 2.0, 2.5, 1.5, 1.6, 1.7, 1.4], 2),
        ([3.0, 2.0, 2.0, 2.0, 1.0], 2),
        ([3.0, 2.0, 2.5, 2.4, 1.0], 3),
        ([3.0, 2.0, 2.5, 2.4, 2.6, 2.7, 1.0], 2),
        ([1.0, 1.2], 1),
    ),
)


def _ended(losses, patience, *, row=True, equal=False):
    """Stop as asked, or with a known mistake; for the wrong answers above."""
    best, vain = 0, 0
    for look, loss in enumerate(losses):
        if look and (loss < losses[best] or (equal and loss == losses[best])):
            best, vain = look, 0 if row else vain
        elif look:
            vain += 1
            if vain >= patience:
                break
    return look + 1, best
