"""The exercises of notebook 00: the size of an adapter, the probability of an answer, its loss, a check that can fail.

The conventions behind them: y = x W^T with W of shape (out, in); loss = -ln p; LoRA adds B A of rank r.
"""

import math

import torch
import torch.nn.functional as F

from .engine import Exercise, Mistake

NOTEBOOK = "00_start_here"

count_trainable = Exercise(
    name="count_trainable",
    question="LoRA, r = 16, on q_proj (576, 576) and v_proj (192, 576) of 30 layers: how many numbers does it train?",
    difficulty=1,
    minutes=4,
    hints=(
        "Each W of shape (out, in) gets an A of shape (r, in) and a B of shape (out, r).",
        "Beside one W stand r * in + out * r numbers. Add those of q_proj and of v_proj, then count the layers.",
    ),
    source="answer = 30 * 16 * ((576 + 576) + (192 + 576))  # r (in + out) for each W",
    takeaway="W itself appears only by its sides: LoRA costs r (in + out), where W has in times out.",
    mistakes=(
        Mistake("one layer", 16 * (1152 + 768), "that is one layer. The adapter sits in each of the 30."),
        Mistake("half of it", 30 * 16 * 1152, "that is the A of both layers, or q_proj alone: the two are equal here."),
        Mistake(
            "two fifths of it", 30 * 16 * 768, "that is the B of both layers, or v_proj alone: the two are equal here."
        ),
        Mistake("v_proj as q_proj", 30 * 16 * 2 * 1152, "that takes v_proj for square. Its W is (192, 576)."),
        Mistake("the drawing's r", 30 * 8 * (1152 + 768), "that is r = 8, as in the drawing. Here r is 16."),
        Mistake("W itself", 30 * (576 + 192) * 576, "that counts the weights W, which LoRA does not train."),
        Mistake(
            "sides multiplied", 30 * 16 * (576 + 192) * 576, "r * in * out is more than W has. Add r in and r out."
        ),
    ),
)

answer_probability = Exercise(
    name="answer_probability",
    question="An answer of 8 tokens has a mean loss of 0.1 nats: with what probability is the whole of it written?",
    difficulty=2,
    minutes=5,
    hints=(
        "The loss of a token is -ln p, so p = exp(-loss). All tokens must come: their probabilities are multiplied.",
        "A product of exponentials is the exponential of a sum, and the sum is 8 times the mean.",
    ),
    source="import math\n\nanswer = math.exp(-8 * 0.1)  # the product of the p, since ln of a product is a sum",
    takeaway="A small loss a token can be an unlikely answer. `lorautils ask` warns where this number is low.",
    mistakes=(
        Mistake("one token", math.exp(-0.1), "that is one token of mean loss. All 8 must come: multiply."),
        Mistake("one minus the loss", 0.9, "a loss is not an error rate: it is -ln p, so p = exp(-loss)."),
        Mistake("error rate to the 8th", 0.9**8, "a loss is not an error rate: p is exp(-0.1), not 1 - 0.1."),
        Mistake("divided by 8", math.exp(-0.1) / 8, "probabilities of tokens that must all come are multiplied."),
        Mistake("mean taken twice", math.exp(-0.1 / 8), "0.1 is the mean already. The sum is 8 times that."),
        Mistake("the loss", 0.8, "that is the loss of the whole answer, in nats. Its probability is exp(-loss)."),
        Mistake("sign", math.exp(0.8), "a probability is at most 1. The loss is -ln p: mind the sign."),
        Mistake("per cent", 100 * math.exp(-0.8), "a probability lies between 0 and 1. Divide by 100."),
        Mistake("bits", 2**-0.8, "that is a power of 2, for a loss in bits. In nats the base is e: math.exp."),
    ),
)

answer_loss = Exercise(
    name="answer_loss",
    question="Write answer_loss(logits, ids, prompt_tokens): the mean cross-entropy of the tokens behind the prompt.",
    difficulty=2,
    minutes=8,
    hints=(
        "logits is (tokens, vocabulary), ids is (tokens,). The logits at position t predict the token at t + 1.",
        "The first token of the answer is ids[prompt_tokens]. Who predicts it? The last position of the prompt.",
        "F.cross_entropy(logits, targets) takes the softmax, the logarithm and the mean; both have the same length.",
    ),
    source="""import torch.nn.functional as F


def answer_loss(logits, ids, prompt_tokens):
    predicting = logits[prompt_tokens - 1 : -1]  # the last of the prompt predicts the first of the answer
    return F.cross_entropy(predicting, ids[prompt_tokens:])""",
    takeaway="Fine-tuning on questions and answers trains by this loss: nobody has to learn to write the question.",
    mistakes=(
        Mistake(
            "the prompt, too",
            lambda logits, ids, prompt_tokens: F.cross_entropy(logits[:-1], ids[1:]),
            "that is the loss of the whole text. Leave out the tokens of the prompt.",
        ),
        Mistake(
            "first token of the answer left out",
            lambda logits, ids, prompt_tokens: F.cross_entropy(logits[prompt_tokens:-1], ids[prompt_tokens + 1 :]),
            "the first token of the answer is missing. The last position of the prompt predicts it.",
        ),
        Mistake(
            "no shift",
            lambda logits, ids, prompt_tokens: F.cross_entropy(logits[prompt_tokens:], ids[prompt_tokens:]),
            "each position is asked for its own token, which it has just read. Position t predicts token t + 1.",
        ),
        Mistake(
            "one token of the prompt",
            lambda logits, ids, prompt_tokens: F.cross_entropy(
                logits[max(prompt_tokens - 2, 0) : -1], ids[max(prompt_tokens - 1, 1) :]
            ),
            "the last token of the prompt is counted, too. The answer begins at ids[prompt_tokens].",
        ),
        Mistake(
            "sum instead of mean",
            lambda logits, ids, prompt_tokens: F.cross_entropy(
                logits[prompt_tokens - 1 : -1], ids[prompt_tokens:], reduction="sum"
            ),
            "that is the sum over the answer. Divide by its number of tokens.",
        ),
        Mistake(
            "divided by all tokens",
            lambda logits, ids, prompt_tokens: (
                F.cross_entropy(logits[prompt_tokens - 1 : -1], ids[prompt_tokens:], reduction="sum") / len(ids)
            ),
            "that divides by all tokens. Only those of the answer count.",
        ),
        Mistake(
            "softmax twice",
            lambda logits, ids, prompt_tokens: F.cross_entropy(
                logits[prompt_tokens - 1 : -1].softmax(-1), ids[prompt_tokens:]
            ),
            "F.cross_entropy takes logits and does the softmax itself. Leave yours out.",
        ),
    ),
    cases=(
        (
            torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 2.0]]),
            torch.tensor([0, 2, 1, 1]),
            2,
        ),
        (torch.tensor([[0.5, -0.5], [1.0, 2.0], [0.0, 0.0], [3.0, -3.0]]), torch.tensor([1, 1, 0, 0]), 3),
    ),
)


def _last(tensors):
    tensors[-1][0] += 0.5


def _none(tensors):
    pass


def _signs(tensors):
    tensors[0].neg_()


def _a_little(tensors):
    tensors[1][0] += 1e-6


def _changed(tensors, step, before, differ):
    step(tensors)
    return [i for i, (old, new) in enumerate(zip(before, tensors, strict=True)) if differ(old, new)]


def _with_copy(differ):
    return lambda tensors, step: _changed(tensors, step, [tensor.clone() for tensor in tensors], differ)


def _differ(old, new):
    return not torch.equal(old, new)


moved = Exercise(
    name="moved",
    question="Write moved(tensors, step): call step(tensors), return the indices of the tensors that it changed.",
    difficulty=2,
    minutes=8,
    hints=(
        "step works in place, as an optimiser does: the tensors in the list are the same objects before and after.",
        "Keep a copy that step cannot reach, tensor.clone(). A list of the same tensors, or detach(), is no copy.",
        "Compare with torch.equal: sums can hide a change, and torch.allclose forgives a small one.",
    ),
    source="""import torch


def moved(tensors, step):
    before = [tensor.clone() for tensor in tensors]  # memory of their own
    step(tensors)
    return [i for i, tensor in enumerate(tensors) if not torch.equal(tensor, before[i])]""",
    takeaway="A check that finds nothing is worth something once you have seen it find something.",
    mistakes=(
        Mistake(
            "no copy",
            lambda tensors, step: _changed(tensors, step, list(tensors), _differ),
            "it never finds a change: what you kept shares its memory with the tensors. Keep tensor.clone().",
        ),
        Mistake(
            "step is not called", lambda tensors, step: [], "step(tensors) was not called, so nothing could change."
        ),
        Mistake(
            "a step on copies",
            lambda tensors, step: _changed([tensor.clone() for tensor in tensors], step, tensors, _differ),
            "the copies have changed, the tensors themselves have not. Call step(tensors), and keep the copies.",
        ),
        Mistake(
            "two steps",
            lambda tensors, step: _with_copy(_differ)(tensors, lambda both: (step(both), step(both))),
            "you call step twice, and a second step can undo the first one.",
        ),
        Mistake(
            "sums compared",
            _with_copy(lambda old, new: old.sum() != new.sum()),
            "two tensors can have the same sum. Compare all of their numbers.",
        ),
        Mistake(
            "allclose",
            _with_copy(lambda old, new: not torch.allclose(old, new)),
            "a small change is not seen. torch.allclose forgives it; torch.equal does not.",
        ),
        Mistake(
            "those that stayed",
            _with_copy(lambda old, new: torch.equal(old, new)),
            "these are the tensors that stayed the same.",
        ),
        Mistake(
            "every number must change",
            _with_copy(lambda old, new: bool((old != new).all())),
            "a tensor counts as changed if one of its numbers has changed, not only if all have.",
        ),
    ),
    cases=(
        ([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], _last),
        ([torch.tensor([1.0, 2.0])], _none),
        ([torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.0])], _signs),
        ([torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])], _a_little),
    ),
)
