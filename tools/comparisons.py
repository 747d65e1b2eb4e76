"""The page "The records, compared": what notebooks 09 and 10 ask of the sweeps, each question with interval and word.

`make site` fills docs/records.md with it. `experiments.records.compare` judges, all questions of one experiment as one
family; experiments/knobs.py and this file name the families. What a reader filters is drawn or not, never judged anew.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from experiments import knobs, records
from experiments.knobs import against
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
    here, beyond = "09_lora_knobs", "10_beyond_lora"
    two = knobs.TESTS
    yield Family("What does a wrong rate cost?", f"{here}#lab-rate-rank-run", two, knobs.rates(runs))
    yield Family("Does a larger rank learn more?", f"{here}#rank-figure", two, knobs.rank(runs))
    yield Family(
        "And over twenty seeds, beside full fine-tuning?", f"{here}#rank-verdict", two, knobs.twenty_seeds(runs)
    )
    yield Family(
        "Random pairs: does rank matter where there are too many?",
        f"{here}#capacity-figure",
        ("training loss",),
        knobs.too_many(runs),
    )
    yield Family("Which rule for alpha is best?", f"{here}#alpha-scores", two, knobs.alpha(runs))
    yield Family("Where to put it, at equal budget?", f"{here}#targets-figure", ("Test-A",), knobs.targets(runs))
    yield Family(
        "In which layers, and in the embeddings?", f"{here}#places-figure", ("Test-A", "English"), knobs.places(runs)
    )
    yield Family("More examples, or only more steps?", f"{here}#steps-or-data-run", two, knobs.steps(runs))
    yield Family("Is the largest batch the best, at equal steps?", f"{here}#batch-table", two, knobs.batch(runs))
    yield Family("Does dropout stop over-fitting?", f"{here}#dropout-table", two, knobs.dropout(runs))

    methods = records.by(records.select(runs, sweep="methods"), "method")
    methods |= records.by(records.select(runs, sweep="more methods"), "method")
    five_seeds = {"sweep": "batch at equal steps", "method": "full fine-tuning", "batch_size": 8}
    methods["full fine-tuning"] = records.select(runs, **five_seeds)
    cells = {name: records.tuned(group) for name, group in methods.items() if name != "LoRA"}
    pairs = against(cells, "LoRA", records.tuned(knobs.ranks(runs)[8]))
    yield Family("Is another method better than LoRA?", f"{beyond}#methods-pairs", two, pairs)
    yield Family("Does another start learn more?", f"{beyond}#starts-figure", ("Test-A", "English"), knobs.starts(runs))


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
