"""What a training cost elsewhere: losses on the frozen texts, and two skills that the base has.

Notebook 09 shows both beside the scores of the sweeps.
"""

import torch
from torch import nn

from lorautils import texts

WINDOW = 512  # tokens that a text is read in at a time
COPIED, SEQUENCES = 30, 40  # random tokens, written twice; the second time they can be known
FACTS = """The capital of France is| Paris
The capital of Italy is| Rome
The capital of Japan is| Tokyo
The capital of Germany is| Berlin
The capital of Spain is the city of| Madrid
The capital of Russia is| Moscow
The capital of England is| London
The capital of Egypt is| Cairo
The opposite of hot is| cold
The opposite of black is| white
The opposite of left is| right
The opposite of good is| bad
The opposite of up is| down
The opposite of day is| night
The plural of mouse is| mice
The past tense of go is| went
The past tense of see is| saw
One, two, three, four,| five
Monday, Tuesday, Wednesday,| Thursday
January, February, March,| April
red, orange, yellow, green,| blue
A, B, C, D,| E
first, second, third,| fourth
Water is made of hydrogen and| oxygen
The Earth moves around the| Sun
The largest planet of the solar system is| Jupiter
Bees make| honey
A young cat is called a| kitten
A young dog is called a| puppy
The author of Romeo and Juliet is William| Shakespeare
The first president of the United States was George| Washington
The theory of relativity was found by Albert| Einstein
The sun rises in the| east
The sun sets in the| west
There are seven days in a| week
There are twelve months in a| year
There are sixty minutes in an| hour
A triangle has three| sides
The king and the| queen
Once upon a| time"""


def windows(tokenizer, text: str) -> list[torch.Tensor]:
    """Return a text's ids in windows (1, tokens), so that a long text needs no more memory than a short one."""
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    return [window for window in ids.split(WINDOW, dim=1) if window.shape[1] > 1]


@torch.inference_mode()
def text_losses(model: nn.Module, tokenizer) -> dict[str, float]:
    """Return the mean cross-entropy (nats per token) of each of the four kinds of text, 25,000 tokens in all."""
    model.eval()
    losses = {}
    for kind in texts.KINDS:
        read = [window.to(model.device) for window in windows(tokenizer, texts.read(kind))]
        total = sum(model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1) for ids in read)
        losses[kind] = round(total / sum(ids.shape[1] - 1 for ids in read), 4)
    return losses


@torch.inference_mode()
def skills(model: nn.Module, tokenizer) -> dict[str, dict[str, int]]:
    """Return how many tokens of a repeated random sequence are known, and how many of the facts are completed."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(1000, 40000, (SEQUENCES, COPIED), generator=generator)
    twice = torch.cat([drawn, drawn], dim=1).to(model.device)
    logits = model(input_ids=twice).logits  # (sequences, tokens, vocabulary); prompt tuning puts its own tokens first
    copied = (logits[:, -COPIED:-1].argmax(-1).cpu() == drawn[:, 1:]).sum().item()
    right = 0
    for line in FACTS.splitlines():
        question, answer = line.split("|")
        ids = tokenizer(question, return_tensors="pt")["input_ids"].to(model.device)
        right += model(input_ids=ids).logits[0, -1].argmax().item() == tokenizer(answer)["input_ids"][0]
    return {
        "copy": {"n": SEQUENCES * (COPIED - 1), "right": copied},
        "facts": {"n": len(FACTS.splitlines()), "right": right},
    }
