"""The page "The records, compared": what notebooks 09 and 10 ask of the sweeps, each question with interval and word.

`make site` fills docs/records.md with it. `experiments.records.compare` judges, all questions of one experiment as one
family; this file names the families and writes HTML. What a reader filters is drawn or not, never judged anew.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import combinations
from typing import NamedTuple

from experiments import records
from lorautils import results

AXIS = {"points": 25.0, "nats": 1.5}  # a forest plot reaches from minus this to this; what goes beyond has an arrow
WIDTH, HEIGHT = 240, 22  # of the plot of one row, in pixels
Runs = Sequence[Mapping]


class Family(NamedTuple):
    """All that is asked of one experiment: pairs of cells, each compared in each of the measures."""

    title: str
    notebook: str  # the cell that asks, NAME#CELL
    measures: tuple[str, ...]  # names of records.MEASURES
    pairs: Mapping[str, tuple[Runs, Runs]]  # by how much the first is ahead of the second


def families() -> Iterator[Family]:
    """Yield the experiments in the order of the notebooks; each setting at its own best rate where a rate was tuned."""
    runs = results.read("sweeps.jsonl")
    ranks = records.by(records.select(runs, sweep="rank"), "r")
    best = {r: records.tuned(group) for r, group in ranks.items()}
    knobs, beyond = "09_lora_knobs", "10_beyond_lora"

    others = {f"r = {r}": cell for r, cell in best.items() if r != 8}
    three = ("Test-A", "Test-C", "Test-D")
    yield Family("Does a larger rank learn more?", f"{knobs}#rank-verdict", three, against(others, "r = 8", best[8]))

    rules = {
        "rsLoRA": records.by(records.select(runs, method="rsLoRA"), "r"),
        "alpha = 2 r": records.by(records.select(runs, sweep="alpha", method="LoRA"), "r"),
    }
    pairs = {
        f"{rule} minus alpha = 32, r = {r}": (records.tuned(group), best[r])
        for rule, cells in rules.items()
        for r, group in cells.items()
    }
    yield Family("Which rule for alpha is best?", f"{knobs}#alpha-scores", ("Test-A", "Test-C"), pairs)

    names = {2: "q, v", 4: "attention", 3: "MLP", 7: "all seven"}
    groups = records.by(records.select(runs, sweep="targets"), "targets")
    targets = {names[len(targets)]: records.tuned(group) for targets, group in groups.items()}
    pairs = {f"{one} minus {other}": (targets[one], targets[other]) for one, other in combinations(names.values(), 2)}
    yield Family("Where to put it, at equal budget?", f"{knobs}#targets-pairs", ("Test-A", "English"), pairs)

    dropout = records.select(runs, sweep="dropout")
    seen_often = records.select(dropout, examples=50, dropout=0.1)
    few = records.select(runs, sweep="examples", examples=50)
    pairs = {
        "50 examples, 24 times minus 3 times": (seen_often, few),
        "400 examples 3 times minus 50 examples 24 times": (records.select(ranks[8], learning_rate=2e-3), seen_often),
    }
    yield Family("More examples, or only more steps?", f"{knobs}#steps-or-data-run", ("Test-A", "Test-C"), pairs)

    pairs = {}
    for examples in (50, 400):
        cells = records.by(records.select(dropout, examples=examples), "dropout")
        some = {f"{examples} examples, {share:g}": cell for share, cell in cells.items() if share}
        pairs |= against(some, "none", cells[0.0])
    four = ("Test-A", "Test-B", "Test-C", "Test-D")
    yield Family("Does dropout stop over-fitting?", f"{knobs}#dropout-table", four, pairs)

    batches = records.by(records.select(runs, sweep="batch"), "batch_size")
    sizes = {f"batches of {size}": records.tuned(group) for size, group in batches.items() if size != 8}
    yield Family(
        "Is the largest batch the best?", f"{knobs}#batch-table", ("Test-A", "Test-C"), against(sizes, "of 8", best[8])
    )

    starts = records.by(records.select(runs, sweep="inits"), "method")
    starts = {name: records.tuned(group) for name, group in starts.items()}
    pairs = against(starts, "the default", best[8])
    yield Family("Does another start learn more?", f"{knobs}#starts-table", ("Test-A", "English"), pairs)

    methods = records.by(records.select(runs, sweep="methods"), "method")
    methods |= records.by(records.select(runs, sweep="more methods"), "method")
    five_seeds = {"sweep": "batch at equal steps", "method": "full fine-tuning", "batch_size": 8}
    methods["full fine-tuning"] = records.select(runs, **five_seeds)
    cells = {name: records.tuned(group) for name, group in methods.items() if name != "LoRA"}
    pairs = against(cells, "LoRA", best[8])
    yield Family("Is another method better than LoRA?", f"{beyond}#methods-pairs", ("Test-A", "Test-C"), pairs)


def against(cells: Mapping[str, Runs], name: str, reference: Runs) -> dict[str, tuple[Runs, Runs]]:
    """Return each cell beside the reference, whose seeds are those that the cell has too."""
    pairs = {}
    for cell, runs in cells.items():
        seeds = {run["run"]["seed"] for run in runs}
        pairs[f"{cell} minus {name}"] = (runs, [run for run in reference if run["run"]["seed"] in seeds])
    return pairs


def judged(family: Family) -> dict[tuple[str, str], tuple[int, records.Comparison]]:
    """Return the number of seeds and the judgement of each question, by pair and measure: one family for `compare`."""
    asked = {
        (pair, measure): records.differences(*cells, measure)
        for pair, cells in family.pairs.items()
        for measure in family.measures
    }
    found = records.compare(asked)
    return {question: (len(asked[question]), found[question]) for question in asked}


def page() -> str:
    """Return how often each word was said, and all families: Markdown with tables that need no script."""
    judgements = [(family, judged(family)) for family in families()]
    words = Counter(found.word for _, rows in judgements for _, found in rows.values())
    counted = ", ".join(f"{words[word]} *{word}*" for word in ("seen", "hint", "not seen"))
    head = f"{words.total()} comparisons in {len(judgements)} experiments: {counted}."
    return "\n\n".join([head, *(section(*pair) for pair in judgements)])


def section(family: Family, judgements: Mapping[tuple[str, str], tuple[int, records.Comparison]]) -> str:
    """Return one family in Markdown: heading, link, and a table whose last column is the forest plot."""
    rows = "\n".join(row(pair, measure, *found) for (pair, measure), found in judgements.items())
    heads = ("compared", "measure", "difference (95 %)", "word", "p", "would be seen")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads) + f'<th scope="col">{axis(family)}</th>'
    notebook, cell = family.notebook.split("#")
    return (
        f"## {family.title}\n\n{len(judgements)} comparisons, judged together. "
        f"From [notebook {notebook[:2]}](../notebooks/{notebook}.ipynb#{cell}).\n\n"
        f'```{{raw}} html\n<div class="table-wrapper"><table class="docutils compared">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n```"
    )


def unit(measure: str) -> str:
    """Return what a difference of the measure is counted in."""
    return "points" if measure.startswith("Test-") else "nats"


def axis(family: Family) -> str:
    """Return what the plots of a family's table reach from and to, as the head of their column."""
    ends = {unit(measure): AXIS[unit(measure)] for measure in family.measures}
    return ", ".join(f"±{end:g} {name}" for name, end in ends.items())


def row(pair: str, measure: str, seeds: int, found: records.Comparison) -> str:
    """Return one comparison as a row; its data attributes are what the filter of the page reads."""
    digits = 1 if unit(measure) == "points" else 2
    mean, low, high = (signed(value, digits) for value in (found.mean, found.low, found.high))
    p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    smallest = f"{found.smallest:.{digits}f}" if found.smallest else "–"
    cells = (
        f"<td>{escape(pair)}{'' if seeds == 5 else f', {seeds} seeds'}</td><td>{measure}</td>",
        f"<td>{mean} ({low} to {high})</td>",
        f'<td class="word">{found.word}</td><td>{p}</td><td>{smallest}</td>',
        f'<td class="plot">{forest(found, AXIS[unit(measure)])}</td>',
    )
    return f'<tr data-word="{found.word}" data-measure="{measure}">{"".join(cells)}</tr>'


def signed(value: float, digits: int) -> str:
    """Return a number with its sign, zero without one."""
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def forest(found: records.Comparison, end: float) -> str:
    """Return the interval as a line, the mean as a dot, the zero as an upright; the numbers stand in the same row."""

    def x(value: float) -> float:
        return round(WIDTH / 2 * (1 + max(-1.0, min(1.0, value / end))) * 0.96 + 0.02 * WIDTH, 1)

    middle = HEIGHT / 2
    parts = [f'<path class="zero" d="M{x(0)} 0V{HEIGHT}"/><path d="M{x(found.low)} {middle}H{x(found.high)}"/>']
    if -end <= found.mean <= end:
        parts.append(f'<circle cx="{x(found.mean)}" cy="{middle}" r="5"/>')
    for goes_beyond, tip, back in ((found.low < -end, 1, 9), (found.high > end, WIDTH - 1, WIDTH - 9)):
        if goes_beyond:
            parts.append(f'<path class="beyond" d="M{back} {middle - 5}L{tip} {middle}L{back} {middle + 5}z"/>')
    kind = found.word.replace(" ", "-")
    return f'<svg class="forest {kind}" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'
