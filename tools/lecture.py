"""The lecture, docs/lecture.md, as slides: its text, its clock, its figures, and the numbers that stand in both.

A line `---` begins a slide, `<!-- figure NAME -->` shows one of FIGURES, and after `Notes, 2 minutes:` all is for the
speaker. Numbers come from what the notebooks printed: `tools.slides` builds the deck, `tools.generated` fills the text.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from matplotlib.figure import Figure

from experiments import records
from lorautils import ROOT, plots, results
from lorautils.figures import drawing, lecture, nb00, nb01, nb02, nb08
from lorautils.figures.words import alt_text

SOURCE = ROOT / "docs" / "lecture.md"
PIXELS = 1600  # the width of a figure: sharp where a projector has more pixels than a slide
TESTS = {"A": "new times", "B": "new combinations", "C": "people's words", "F": "people's words"}
PHRASE = "every weekday at half past nine"
NUMBERS = {  # name: (cell, what is printed there around the number, which of the places found)
    "right untouched": ("00#score-base", r"exact=(\d+)", 0),
    **{f"right draw {i}": ("00#few-shot", r"(\d+) of 10 exact", i - 1) for i in (1, 2, 3)},
    **{f"valid draw {i}": ("00#few-shot", r"(\d+) of 10 valid", i - 1) for i in (1, 2, 3)},
    **{f"shipped {test}": ("00#recorded-scores-show", rf"Test-{test} +\d+ +(\d+) %", 0) for test in "ABF"},
    "few-shot A": ("08#recorded-runs", r"^few-shot +(\d+) %", 0),
    "F low": ("00#recorded-scores-show", r"^Test-F +\d+ +\d+ % \((\d+)-", 0),
    "F high": ("00#recorded-scores-show", r"^Test-F +\d+ +\d+ % \(\d+-(\d+)", 0),
    "adapter MB": ("00#adapter-size", r"([\d.]+) MB", 0),
    "adapter numbers": ("00#adapter-size", r"adapter: ([\d,]+)", 0),
    "share": ("00#adapter-size", r"whole: ([\d.]+)%", 0),
    "parameters": ("00#load-model", r"([\d,]+) parameters", 0),
    "tensors": ("00#lab-weights-run", r"of (\d+):", 0),
    "loaded": ("00#lab-weights-run", r"(\d+) by loading", 0),
    "merged": ("00#lab-weights-run", r"(\d+) by merging", 0),
    "loss before": ("00#six-6-step", r"loss ([\d.]+) ->", 0),
    **{f"loss step {i}": ("00#six-6-step", r"-> ([\d.]+)", i) for i in range(3)},
    "memory full": ("00#four-ways-ledger", r"full .+ ([\d,]+) MB$", 0),
    "memory LoRA": ("00#four-ways-ledger", r"LoRA.+ ([\d,]+) MB$", 0),
    "whole": ("02#loss-with", r"wine: +([\d.]+)", 0),
    "blind": ("00#six-5-loss", r"blind guess ([\d.]+\d)", 0),
    **{f"cut {k}": ("02#truncate-all", rf"^ *{k} +[\d.]+ +([\d.]+)", 0) for k in (480, 288, 8)},
    "cut against noise": ("02#noise-control", r"noise of its size ([\d.]+\d)", 0),
    **{f"photo {k}": ("02#photo-ledger", rf"^ *{k} .+ ([\d.]+)%$", 0) for k in (5, 20)},
    "energy noise": ("02#spectra-figure", r"noise +(\d+)%", 0),
    "energy photo": ("02#spectra-figure", r"photograph +(\d+)%", 0),
    "energy W": ("02#spectra-figure", r"q_proj\) +(\d+)%", 0),
    "energy dW": ("02#spectra-figure", r"its dW +(\d+)%", 0),
    **{f"dW {k}": ("02#recorded-curve", rf"^ *{k} +(\d+) %", 0) for k in (1, 4, 8, 128)},
    "LoRA 1": ("02#recorded-curve", r"^ *1 +\d+ % \S+ +(\d+) %", 0),
    **{f"held out {i}": ("06#starts-turn", r"held out ([\d.]+) before", i) for i in range(4)},
    **{f"after {i}": ("06#starts-turn", r"after ([\d.]+)", i) for i in range(4)},
    **{f"trained on {i}": ("06#starts-race", r"^A .{17}([\d.]+)", i) for i in range(4)},
    "alpha doubled": ("06#alpha-adam", r"and ([\d.]+) from", 0),
    "alpha halved rate": ("06#alpha-adam", r"is ([\d.]+) nats", 0),
    "arithmetic": ("06#flops-run", r"(\d+)% of the arithmetic", 0),
    "activations": ("06#kept", r"(\d+)% of them stay", 0),
    "dropout": ("06#kept", r"(\d+)% with dropout", 0),
    "calls": ("06#products", r"(\d+) calls unmerged", 0),
    "calls merged": ("06#products", r"(\d+) merged", 0),
    **{f"LoRA {test}": ("08#recorded-runs", r"^LoRA " + r" +\d+ % \S+" * i + r" +(\d+) %", 0)
       for i, test in enumerate("ABC")},
    "full C": ("08#recorded-runs", r"^full fine-tuning" + r" +\d+ % \S+" * 2 + r" +(\d+) %", 0),
    "long C": ("08#recorded-runs", r"^long run" + r" +\d+ % \S+" * 2 + r" +(\d+) %", 0),
    **{f"copying {kind}": ("08#forgetting-recorded", rf"^{kind}  .+ (\d+) % +\d+ %$", 0)
       for kind in ("untouched", "LoRA", "LoRA with replay", "full fine-tuning")},
    **{f"English {kind}": ("08#forgetting-recorded", rf"^{kind} +\d+ % +([\d.]+)", 0)
       for kind in ("untouched", "LoRA")},
    "replay D": ("08#recorded-runs", r"^LoRA with replay" + r" +\d+ % \S+" * 3 + r" +(\d+) %", 0),
    "plain D": ("08#recorded-runs", r"^LoRA " + r" +\d+ % \S+" * 3 + r" +(\d+) %", 0),
}  # fmt: skip


class Slide(NamedTuple):
    """One slide: what the room sees, and what the speaker knows."""

    part: str
    title: str
    figure: str  # a name of FIGURES, or nothing
    text: str  # Markdown below the figure
    notes: str  # Markdown
    minutes: int
    begins: int  # at which minute


@cache
def notebook(number: str) -> dict[str, str]:
    """Return what each code cell of a notebook printed, by its id."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return {
        cell.id: "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs)
        for cell in cells
        if cell.cell_type == "code"
    }


def number(*name: str) -> str:
    """Return a number of NUMBERS as its notebook printed it; its name may come in several words."""
    cell, pattern, which = NUMBERS[" ".join(name)]
    notebook_number, _, cell_id = cell.partition("#")
    return re.findall(pattern, notebook(notebook_number)[cell_id], re.MULTILINE)[which]


def value(name: str) -> float:
    """Return a number of NUMBERS."""
    return float(number(name).replace(",", ""))


def labelled(names: Mapping[str, str]) -> dict[str, float]:
    """Return numbers under other names: {label: name of NUMBERS}."""
    return {label: value(name) for label, name in names.items()}


@cache
def photograph() -> np.ndarray:
    """Return the photograph of notebooks 01 and 02, in grey, (427, 640)."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("flower.jpg").mean(axis=2)


def photo_cut(*ranks: int) -> Figure:
    """Draw the photograph cut to some ranks; without ranks, whole."""
    photo = photograph()
    U, S, Vh = np.linalg.svd(photo, full_matrices=False)
    images = {f"{k} of {len(S)} directions": U[:, :k] * S[:k] @ Vh[:k] for k in ranks}
    return plots.pictures(images or {f"a flower, all {len(S)} directions": photo}, columns=2 if ranks else 1)


def cut_or_trained() -> Figure:
    """Draw the chart of notebook 02: right answers of the full dW cut to rank k, and of LoRA trained at r = k."""
    runs = results.read("full_update.jsonl")
    full = [run for run in runs if run["kind"] == "full"]
    ranks = sorted(map(int, full[0]["truncated"]))

    def lora(k: int) -> tuple[int, int]:
        wanted = {"kind": "lora", "r": k, "learning_rate": 2e-3}
        return results.pooled([run for run in runs if wanted.items() <= run.items()])["A"]

    def cut(k: int) -> tuple[int, int]:
        return results.pooled([{"scores": {"A": run["truncated"][str(k)]}} for run in full])["A"]

    curves = {
        name: {k: (count(k)[0] / count(k)[1], *results.wilson_interval(*count(k))) for k in ranks}
        for name, count in (("full dW, cut to rank k", cut), ("LoRA trained at r = k", lora))
    }
    right, n = results.pooled(full)["A"]
    return nb02.score_by_rank(curves, level=right / n, label="the whole dW").figure


def more_examples() -> Figure:
    """Draw the chart of notebooks 08 and 09: right answers on each test against the number of training examples."""
    sweeps = results.read("sweeps.jsonl")
    same = records.select(sweeps, sweep="examples")
    same += records.select(sweeps, sweep="rank", r=8, learning_rate=2e-3)
    cells = records.by(same, "examples")
    return nb08.by_examples(
        {f"{test}, {TESTS[test]}": records.seed_intervals(cells, f"Test-{test}") for test in "ABC"}
    ).figure


def starting(*, hidden: bool = False) -> Figure:
    """Draw the four ways to start A and B, with what the race of notebook 06 made of their held-out loss."""
    names = ("A random, B zero", "A random, B random", "A zero, B zero", "A zero, B random")
    after = [f"{number(f'held out {i}')} → {number(f'after {i}')}" for i in range(4)]
    return lecture.starts(list(zip(names, after, strict=True)), hidden=hidden)


BARS: dict[str, Callable[[], dict]] = {  # a prediction, NAME-asked, and its answer, NAME
    "few-shot": lambda: {
        "measure": "right answers",
        "known": labelled({"no examples": "right untouched"}),
        "asked": labelled({f"three examples, draw {i}": f"right draw {i}" for i in (1, 2, 3)}),
        "end": 10,
        "unit": " of 10",
    },
    "step": lambda: {
        "measure": "loss",
        "known": labelled({"before the step": "loss before"}),
        "asked": labelled({f"rate {rate}": f"loss step {i}" for i, rate in enumerate(("0.0001", "0.001", "0.01"))}),
        "end": 12,
    },
    "cut": lambda: {
        "measure": "loss",
        "known": labelled({"whole model": "whole", "blind guess": "blind"}),
        "asked": labelled({f"{k} of 576 directions": f"cut {k}" for k in (480, 288, 8)}),
        "end": 54,
    },
    "spectrum": lambda: {
        "measure": "energy in the 8 strongest directions",
        "known": labelled({"noise": "energy noise", "a weight W": "energy W", "photograph": "energy photo"}),
        "asked": labelled({"the change dW": "energy dW"}),
        "end": 100,
        "unit": " %",
    },
    "cut-change": lambda: {
        "measure": "right answers, new times",
        "known": labelled({"128 directions": "dW 128"}),
        "asked": labelled({"8 directions": "dW 8", "4 directions": "dW 4", "1 direction": "dW 1"}),
        "end": 100,
        "unit": " %",
    },
    "trained": lambda: {
        "measure": "right answers, new times",
        "known": labelled({"dW, cut to 8": "dW 8", "dW, cut to 1": "dW 1"}),
        "asked": labelled({"LoRA trained, r = 1": "LoRA 1"}),
        "end": 100,
        "unit": " %",
    },
    "alpha": lambda: {
        "measure": "how far from alpha = 32, in loss",
        "known": {},
        "asked": labelled({"(a) alpha = 64": "alpha doubled", "(b) and B's rate / 2": "alpha halved rate"}),
        "end": 1,
        "unit": " nats",
    },
    "saves": lambda: {
        "measure": "of full fine-tuning",
        "known": labelled({"numbers that train": "share"}),
        "asked": labelled({"arithmetic of a step": "arithmetic", "activations kept": "activations"}),
        "end": 100,
        "unit": " %",
    },
    "laptop": lambda: {
        "measure": "right answers",
        "known": {"untouched, any test": 0},
        "asked": labelled({f"{TESTS[test]} ({test})": f"LoRA {test}" for test in "ACB"}),
        "end": 100,
        "unit": " %",
    },
    "forgets": lambda: {
        "measure": "tokens copied right",
        "known": labelled({"untouched": "copying untouched"}),
        "asked": labelled(
            {
                "after LoRA": "copying LoRA",
                "LoRA with replay": "copying LoRA with replay",
                "full fine-tuning": "copying full fine-tuning",
            }
        ),
        "end": 100,
        "unit": " %",
    },
}
M, N = [[2, 2, 0], [2, 0, -4], [3, 2, -2]], [[2, 2, 0], [2, 0, -4], [3, 2, 2]]  # of notebook 01
FIGURES: dict[str, Callable[[], Figure]] = {
    "lora": drawing.lora_layer,
    "fields": lambda: lecture.fields(PHRASE, "30 9 * * 1-5"),
    "base-asked": lambda: lecture.ask(PHRASE, "?"),
    "base": lambda: lecture.ask(PHRASE, notebook("00")["ask-base"].strip()),
    "tuned": lambda: lecture.ask(PHRASE, notebook("00")["load-adapter"].strip(), adapter=True),
    "shipped": lambda: lecture.bars(
        "right answers",
        {"before, any test": 0},
        labelled({f"{TESTS[test]} ({test})": f"shipped {test}" for test in "ABF"}),
        end=100,
        unit=" %",
    ),
    "tensors-asked": lambda: lecture.tensors({"after loading": None}),
    "tensors": lambda: lecture.tensors({"loaded": int(value("loaded")), "merged": int(value("merged"))}),
    "six-cells": nb00.six_cells,
    "three-ways": lambda: nb00.three_ways(int(value("parameters")), int(value("adapter numbers"))),
    "cubes": lambda: nb01.cube_carried({"the cube": np.eye(3), "N: rank 3": N, "M: rank 2": M}),
    "factors": lambda: nb01.factors_to_scale(576, 576, ranks=(8, 96, 288)),
    "photo-asked": photo_cut,
    "photo": lambda: photo_cut(1, 5, 20, 80),
    "change": lecture.change,
    "cut-or-trained": cut_or_trained,
    "starts-asked": partial(starting, hidden=True),
    "starts": starting,
    "attached": nb08.attached,
    "flow": nb08.flow,
    "more-examples": more_examples,
    **{name: lambda values=values: lecture.bars(**values()) for name, values in BARS.items()},
    **{f"{name}-asked": lambda values=values: lecture.bars(**values(), hidden=True) for name, values in BARS.items()},
}


def slides() -> Iterator[Slide]:
    """Yield the slides of the lecture, in order; ValueError names one that has no title or no notes."""
    part, begins = "", 0
    for block in re.split(r"\n---\n", SOURCE.read_text(encoding="utf-8"))[1:]:
        part = (re.findall(r"<!-- part (.+) -->", block) or [part])[0]
        found = re.search(r"^## ([^\n]+)\n(.*?)^Notes, (\d+) minutes?:\n(.*)", block, re.MULTILINE | re.DOTALL)
        if not found:
            raise ValueError(
                f"{SOURCE.name}: a slide needs a line '## Title' and one 'Notes, 2 minutes:', not {block!r}"
            )
        title, shown, minutes, notes = found.groups()
        figure = (re.findall(r"<!-- figure ([\w-]+) -->", shown) or [""])[0]
        text, notes = (re.sub(r"<!-- .*? -->", "", markdown).strip() for markdown in (shown, notes))
        yield Slide(part, title, figure, text, notes, int(minutes), begins)
        begins += int(minutes)


def draw(folder: Path) -> dict[str, str]:
    """Write each figure that a slide shows as PNG, and what all show in words, by name, as words.json; return these."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {}
    for name in dict.fromkeys(slide.figure for slide in slides() if slide.figure):
        with plt.rc_context({"font.size": 17}):
            figure = FIGURES[name]()
        words[name] = " ".join(alt_text(figure).split())
        figure.savefig(folder / f"{name}.png", dpi=PIXELS / figure.get_figwidth())
        plt.close(figure)
    (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
    return words


def script(text: str, words: Mapping[str, str]) -> str:
    """Return the lecture's text as a page of the site: with the figures of the deck, which lies beside it."""

    def picture(place: re.Match) -> str:
        name = place[1]
        return f'<img src="../slides/figures/{name}.png" alt="{words[name]}" width="480" loading="lazy">'

    text = re.sub(r"<!-- figure ([\w-]+) -->", picture, text)
    return text.replace("<!-- deck -->", '<a href="../slides/lecture.html">Open the slides</a>.')


def parts() -> str:
    """Return the table of the lecture's parts: slides and minutes of each."""
    lines = ["| part | slides | minutes |", "|---|---|---|"]
    shown = list(slides())
    for part in dict.fromkeys(slide.part for slide in shown):
        inside = [slide for slide in shown if slide.part == part]
        lines.append(f"| {part} | {len(inside)} | {sum(slide.minutes for slide in inside)} |")
    lines.append(f"| **together** | **{len(shown)}** | **{sum(slide.minutes for slide in shown)}** |")
    return "\n".join(lines)
