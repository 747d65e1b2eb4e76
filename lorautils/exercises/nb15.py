"""The exercises of notebook 15: who answers a request, the way back of the rows, four files of which one is broken,
and what to ship for a phone, a laptop and a GPU.

`lorautils.export.faults.four_files` writes the files. The one that is broken has k's rows in transformers' order.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "15_export_and_serve"


who_answers = Exercise(
    name="who_answers",
    question="Which adapter answers each of the five requests, 0 or 1, or the base?",
    difficulty=1,
    minutes=4,
    hints=(
        "llama.cpp does not read `model`. It reads `lora`, and an empty list counts as none given.",
        "A list with something in it replaces the server's own choice. An adapter that it leaves out gets scale 0.",
    ),
    source='answer = [0, 0, 1, "base", 0]',
    takeaway="Only a list with an entry decides. To ask the base, name an adapter with scale 0.",
    mistakes=(
        Mistake(
            "the model's name",
            [0, 1, 1, "base", 0],
            "the second request names a model. llama.cpp does not read that; its own choice answers.",
        ),
        Mistake(
            "an empty list",
            [0, 0, 1, "base", "base"],
            "the last request has an empty list. llama.cpp takes it for none given.",
        ),
        Mistake(
            "the name, and an empty list",
            [0, 1, 1, "base", "base"],
            "two traps: `model` is not read, and an empty list is none given.",
        ),
        Mistake(
            "scale 0 of another",
            [0, 0, 1, 0, 0],
            "the fourth request has a list with an entry: it replaces the server's choice, and adapter 0 gets 0.",
        ),
    ),
)

_ROWS = torch.arange(8.0)[:, None] * torch.tensor([1.0, 10.0])
_TWO = torch.tensor([[0.0], [2.0], [1.0], [3.0], [10.0], [12.0], [11.0], [13.0]])

back = Exercise(
    name="back",
    question="Write back(rows, heads): from llama.cpp's order of rows to transformers' order. rows is (out, r).",
    difficulty=2,
    minutes=10,
    hints=(
        "In a head of llama.cpp, rows 0, 2, 4, ... are the first half of transformers' head, rows 1, 3, 5, ... the "
        "second.",
        "View the rows as (heads, half a head, 2, r). Which two axes change places?",
        "rows.unflatten(0, (heads, -1, 2)), then transpose(1, 2), then flatten the first three axes.",
    ),
    source="""def back(rows, heads):
    pairs = rows.unflatten(0, (heads, -1, 2))  # (heads, half a head, 2, r)
    return pairs.transpose(1, 2).flatten(0, 2)  # (out, r)""",
    takeaway="With this you can read anybody's adapter GGUF, and compare B A with what was trained.",
    mistakes=(
        Mistake(
            "the way there",
            lambda rows, heads: rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2),
            "that is the writer's way once more. The first axis behind the heads is now half a head, the second 2.",
        ),
        Mistake(
            "one head",
            lambda rows, heads: rows.unflatten(0, (1, -1, 2)).transpose(1, 2).flatten(0, 2),
            "that takes all rows for one head. Each head is reordered by itself.",
        ),
        Mistake("left alone", lambda rows, heads: rows, "the rows are still in llama.cpp's order."),
        Mistake(
            "axes left apart",
            lambda rows, heads: rows.unflatten(0, (heads, -1, 2)).transpose(1, 2),
            "the order is right. Now flatten the first three axes into one.",
        ),
    ),
    cases=((_ROWS, 1), (_TWO, 2), (_ROWS, 2)),
)


which_broken = Exercise(
    name="which_broken",
    question='Which of the four files is broken, and in which of the seven kinds of modules? Such as ("a", "q_proj").',
    difficulty=3,
    minutes=15,
    hints=(
        "All four have 420 tensors. In three of them, s B A of every module is what PEFT has; alpha alone tells "
        "nothing, B alone tells nothing.",
        "For each file and each module of layer 0: alpha / 8 times lora_b times lora_a. Compare with 4 B A of PEFT.",
        "For q and k, PEFT's B must go through gguf.neighbours first: q has 9 heads, k has 3.",
    ),
    source='answer = ("c", "k_proj")  # its rows are in the order of transformers',
    takeaway="Only the product s B A says what an adapter does. Write k again, through neighbours with 3 heads.",
    mistakes=(
        Mistake(
            "the doubled alpha",
            ("b", "alpha"),
            "alpha is doubled in b, and every B is halved: the product is the same.",
        ),
        Mistake(
            "the doubled alpha, at q",
            ("b", "q_proj"),
            "b has twice the alpha and half of each B: the product is the same.",
        ),
        Mistake(
            "the other order of components",
            ("a", "q_proj"),
            "in a, B's columns and A's rows are both in the other order: the product is the same.",
        ),
        Mistake(
            "the other sign",
            ("d", "q_proj"),
            "in d both A and B have the other sign: the product is the same.",
        ),
        Mistake(
            "the other sign, at k",
            ("d", "k_proj"),
            "in d both A and B have the other sign: compare the product, not B.",
        ),
        Mistake("the file's name", ("c.gguf", "k_proj"), "it is. Write the letter alone."),
        Mistake("llama.cpp's name", ("c", "attn_k"), "it is. Write the module as PEFT does."),
        Mistake(
            "q instead of k",
            ("c", "q_proj"),
            "c it is. But did you send q's B through neighbours with 9 heads, and k's with 3?",
        ),
    ),
)

ship = Exercise(
    name="ship",
    question="Which letter for the phone, the laptop and the GPU?",
    difficulty=2,
    minutes=6,
    hints=(
        "Go through each case line by line, and strike out what it forbids. Most lines of section 5's table are about "
        "a base that was born on its grid; the line of each case says which base it has.",
        "On the phone the base is off the grid, and 4 bits cost what the lines 'off its grid' say. On the laptop "
        "nothing but the size speaks against 8 bits. On the GPU there are fifty adapters.",
    ),
    source='answer = ["b", "a", "d"]',
    takeaway="Size, number of adapters and gate decide, in this order. Then measure your own base.",
    mistakes=(
        Mistake(
            "4 bits on the phone",
            ["c", "a", "d"],
            "the phone's gate is 0.5 nats. Off its grid, a merged 4-bit file missed that: look at section 5.",
        ),
        Mistake(
            "two files on the phone",
            ["a", "a", "d"],
            "base and adapter together pass 150 MB: add the two sizes of section 1.",
        ),
        Mistake(
            "llama.cpp for the GPU",
            ["b", "a", "a"],
            "our llama.cpp loads all adapters at the start. Fifty, for many users, want the shelf of section 7.",
        ),
        Mistake(
            "merged for the GPU",
            ["b", "a", "b"],
            "fifty merged models are fifty times the base's memory.",
        ),
        Mistake("vLLM for the laptop", ["b", "d", "d"], "vLLM needs a GPU. One user, two adapters: what is simpler?"),
        Mistake(
            "merged for the laptop",
            ["b", "b", "d"],
            "a merged file cannot switch: the laptop has two tasks.",
        ),
    ),
)
