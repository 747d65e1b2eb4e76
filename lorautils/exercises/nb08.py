"""The exercises of notebook 08: steps, labels, what 60 of 60 proves, merging by hand, and a model that never stops.

The conventions behind them: -100 marks a label without loss; merged weight = W + (alpha / r) B A.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "08_peft_lora_run"

optimiser_steps = Exercise(
    name="optimiser_steps",
    question="How many optimiser steps are 3 epochs over 500 examples with batches of 8?",
    difficulty=1,
    minutes=3,
    hints=(
        "One batch is one step. How many batches does one epoch have, when the last one may be smaller?",
        "math.ceil(500 / 8) batches in each of the 3 epochs.",
    ),
    source="import math\n\nanswer = math.ceil(500 / 8) * 3  # 62 full batches and one of 4 examples, three times",
    takeaway="63 batches an epoch: 62 full ones and one of 4 examples.",
    mistakes=(
        Mistake("one epoch", 63, "that is one epoch. The data are seen three times."),
        Mistake("examples instead of steps", 1500, "that counts examples. A step takes a batch of 8 of them."),
        Mistake("last batch dropped", 186, "the 4 examples left over in each epoch are a batch too."),
        Mistake("epochs run together", 188, "a batch never spans two epochs: round up in each epoch, not at the end."),
        Mistake("half a step", 187.5, "there is no half step: the last batch of an epoch is smaller, but counts."),
    ),
)

mask_prompt = Exercise(
    name="mask_prompt",
    question="Write mask_prompt(ids, prompt_length): the labels that give loss on the answer only, as a list.",
    difficulty=1,
    minutes=5,
    hints=(
        "Labels are as long as ids. The first prompt_length of them are -100, which cross-entropy skips.",
        "[-100] * prompt_length, followed by the ids from prompt_length on.",
    ),
    source="""def mask_prompt(ids, prompt_length):
    return [-100] * prompt_length + ids[prompt_length:]""",
    takeaway="No shift here: the model compares position t with label t + 1 by itself.",
    mistakes=(
        Mistake(
            "prompt not masked",
            lambda ids, prompt_length: list(ids),
            "the model would also learn to write the questions. Put -100 on the prompt.",
        ),
        Mistake(
            "masked with 0",
            lambda ids, prompt_length: [0] * prompt_length + ids[prompt_length:],
            "0 is the id of a token, and would be learned. Cross-entropy skips -100.",
        ),
        Mistake(
            "answer masked",
            lambda ids, prompt_length: ids[:prompt_length] + [-100] * (len(ids) - prompt_length),
            "that masks the answer and trains on the question: the wrong way round.",
        ),
        Mistake(
            "prompt cut off",
            lambda ids, prompt_length: ids[prompt_length:],
            "labels need one entry for each id. Replace the prompt by -100, do not remove it.",
        ),
        Mistake(
            "shifted twice",
            lambda ids, prompt_length: [*([-100] * prompt_length + ids[prompt_length:])[1:], -100],
            "the model shifts the labels by itself. Shifted here too, it would learn to skip every other token.",
        ),
    ),
    cases=(([1, 4, 7, 9, 5, 2], 4), ([3, 8, 2], 1), ([6, 2], 0)),
)

sixty_of_sixty = Exercise(
    name="sixty_of_sixty",
    question="A model is right in 60 of 60 cases: where does the 95 % Wilson interval (z = 1.96) of its score begin?",
    difficulty=2,
    minutes=5,
    hints=(
        "60 of 60 does not prove 100 %: a model that is right 97 times in 100 manages it one time in six.",
        "When all n cases are right, the lower end of the interval is n / (n + z^2).",
    ),
    source="answer = 60 / (60 + 1.96**2)  # the general formula with p = 1; the upper end is 1",
    takeaway="The truth may still be as low as 94 %. With 200 of 200 the interval begins at 98.1 %.",
    mistakes=(
        Mistake(
            "no uncertainty",
            1,
            "that is p - z sqrt(p (1 - p) / n), which claims certainty when p = 1. Wilson's interval does not.",
        ),
        Mistake(
            "confidence, or the rule of three",
            0.95,
            "95 % says how often such intervals are right. 1 - 3 / n, the rule of three, is not Wilson's bound.",
        ),
        Mistake("z not squared", 60 / (60 + 1.96), "the formula has z squared, 1.96**2 = 3.84."),
        Mistake("per cent", 100 * 60 / (60 + 1.96**2), "right in per cent; give it as a share between 0 and 1."),
    ),
)

_W = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])  # (out, in) = (3, 2)
_A = torch.tensor([[1.0, -1.0], [0.5, 2.0]])  # (r, in) = (2, 2)
_B = torch.tensor([[0.1, 0.0], [0.0, -0.2], [0.3, 0.1]])  # (out, r) = (3, 2)

merge_by_hand = Exercise(
    name="merge_by_hand",
    question="Write merge_by_hand(W, A, B, alpha): the merged weight, as a new matrix.",
    difficulty=2,
    minutes=8,
    hints=(
        "A is (r, in) and B is (out, r). Which order of the product has the shape of W?",
        "r is A.shape[0], and the update is scaled by alpha / r.",
        "W + ... makes a new matrix; W += ... would change the one that was passed in.",
    ),
    source="""def merge_by_hand(W, A, B, alpha):
    return W + alpha / A.shape[0] * B @ A  # (out, in) + (out, r) @ (r, in)""",
    takeaway="merge_and_unload() does this for all 210 matrices and returns the plain model.",
    mistakes=(
        Mistake(
            "A B instead of B A",
            lambda W, A, B, alpha: W + alpha / A.shape[0] * A @ B,
            "(r, in) @ (out, r) does not fit. A narrows first, B widens then: B @ A is (out, in).",
        ),
        Mistake(
            "no scaling",
            lambda W, A, B, alpha: W + B @ A,
            "the update is multiplied by alpha / r, as it was during training.",
        ),
        Mistake(
            "alpha not divided by r",
            lambda W, A, B, alpha: W + alpha * B @ A,
            "the scaling is alpha / r.",
        ),
        Mistake(
            "update without W",
            lambda W, A, B, alpha: alpha / A.shape[0] * B @ A,
            "that is the update alone. The merged weight is W plus it.",
        ),
        Mistake(
            "W changed in place",
            lambda W, A, B, alpha: W.add_(alpha / A.shape[0] * B @ A),
            "the values are right, but += has overwritten W: run the cell twice and the update is in it twice.",
        ),
    ),
    cases=((_W, _A, _B, 8), (_W, _A[:1], _B[:, :1], 3)),
)

keep_the_stop = Exercise(
    name="keep_the_stop",
    question="Padding is eos, as is the end of the answer. Write keep_the_stop(ids, length, eos): the padded labels.",
    difficulty=3,
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
    ),
    cases=(([5, 9, 7, 2], 6, 2), ([4, 2, 8, 2], 5, 2), ([3, 2], 2, 2)),
)
