"""What notebook 09 asks of the sweeps: for each knob, pairs of settings that differ in nothing else.

Each function returns pairs[name] = (runs of one setting, runs of the other, the same seeds), which
`experiments.records.compare` judges seed by seed, as one family. Settings whose rate was tuned stand at their own best
rate. The notebook, the page docs/records.md and the tests read the pairs here.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from experiments.plans import THIRDS
from experiments.records import MEASURES, by, differences, paired, select, tuned

Runs = Sequence[Mapping]
Pairs = dict[str, tuple[Runs, Runs]]
TASKS = {"cron": "", "orders": "orders: ", "family": "family: "}  # what the names of their sweeps start with
SETS = {2: "q, v", 4: "attention", 3: "MLP", 7: "all seven"}  # a set of targets, by how many names it has


def against(cells: Mapping[object, Runs], name: str, reference: Runs) -> Pairs:
    """Return each cell beside the reference, whose seeds are those that the cell has too."""
    pairs = {}
    for cell, runs in cells.items():
        seeds = {run["run"]["seed"] for run in runs}
        pairs[f"{cell} minus {name}"] = (runs, [run for run in reference if run["run"]["seed"] in seeds])
    return pairs


def ranks(runs: Runs) -> dict[int, list[Mapping]]:
    """Return the runs of each rank, at all rates."""
    return by(select(runs, sweep="rank"), "r")


def rank(runs: Runs) -> Pairs:
    """Compare each rank with r = 8, each at its best rate."""
    best = {f"r = {r}": tuned(group) for r, group in ranks(runs).items()}
    return against({name: cell for name, cell in best.items() if name != "r = 8"}, "r = 8", best["r = 8"])


def twenty_seeds(runs: Runs) -> Pairs:
    """Compare r = 1, r = 128 and full fine-tuning with r = 8, twenty seeds each."""
    found = select(runs, sweep="twenty seeds")
    lora = by(select(found, method="LoRA"), "r")
    full = by(select(found, method="full fine-tuning"), "learning_rate")
    cells = {f"r = {r}": lora[r] for r in (1, 128)} | {f"full at {rate:g}": group for rate, group in full.items()}
    return against(cells, "r = 8", lora[8])


def beside_the_best(runs: Runs) -> Pairs:
    """Compare half and twice the best rate with it, for each rank and for full fine-tuning; five seeds each."""
    groups = {f"r = {r}": group for r, group in ranks(runs).items()} | {"full": select(runs, sweep="full")}
    pairs = {}
    for name, group in groups.items():
        best, rates = tuned(group), by(group, "learning_rate")
        at = list(rates).index(best[0]["run"]["learning_rate"])
        for beside, place in (("half", at - 1), ("twice", at + 1)):
            if 0 <= place < len(rates) and len(cell := list(rates.values())[place]) == len(best):
                pairs[f"{name}: {beside} the best rate"] = (cell, best)
    return pairs


def alike(group: Runs) -> tuple[float, float, float]:
    """Return the best rate, and the lowest and highest that is not seen to be behind it, of those with as many seeds."""
    best, rates = tuned(group), by(group, "learning_rate")
    same = [rate for rate, cell in rates.items() if len(cell) == len(best) and paired(best, cell).low <= 0]
    return best[0]["run"]["learning_rate"], min(same), max(same)


def rules(runs: Runs) -> dict[str, dict[int, list[Mapping]]]:
    """Return the runs of three rules for alpha, by rank."""
    return {
        "alpha = 32": {r: group for r, group in ranks(runs).items() if r in (1, 8, 32, 128)},
        "rsLoRA": by(select(runs, method="rsLoRA"), "r"),
        "alpha = 2 r": by(select(runs, sweep="alpha", method="LoRA"), "r"),
    }


def alpha(runs: Runs) -> Pairs:
    """Compare two rules for alpha with alpha = 32 at the same rank."""
    plain, *others = rules(runs).items()
    return {
        f"{rule} minus alpha = 32, r = {r}": (tuned(group), tuned(plain[1][r]))
        for rule, cells in others
        for r, group in cells.items()
    }


def sets(runs: Runs, task: str = "cron") -> dict[str, list[Mapping]]:
    """Return the runs of each set of targets at its best rate."""
    groups = by(select(runs, sweep=f"{TASKS[task]}targets"), "targets")
    found = {SETS[len(names)]: tuned(group) for names, group in groups.items()}
    return {name: found[name] for name in SETS.values()}


def targets(runs: Runs, task: str = "cron") -> Pairs:
    """Compare sets of targets with one another, at equal budget."""
    best = sets(runs, task)
    return {f"{one} minus {other}": (best[one], best[other]) for other, one in combinations(SETS.values(), 2)}


def layers(runs: Runs) -> Pairs:
    """Compare ten layers at r = 24 with all thirty at r = 8, and more targets with the seven."""
    found = by(select(runs, sweep="layers"), "layers")
    cells = {f"layers: {name}": tuned(found[tuple(places)]) for name, places in THIRDS.items()}
    return against(cells, "all thirty", tuned(ranks(runs)[8]))


def more_targets(runs: Runs) -> Pairs:
    """Compare the embeddings, and the head, trained too with the seven projections alone."""
    groups = by(select(runs, sweep="embeddings"), "targets")
    names = {8: "and embeddings", 9: "and embeddings, head"}
    cells = {names[len(targets)]: tuned(group) for targets, group in groups.items()}
    return against(cells, "seven alone", tuned(ranks(runs)[8]))


def reading(runs: Runs, method: str = "LoRA") -> dict[tuple[int, float], list[Mapping]]:
    """Return the runs of the sweep "epochs" by (examples, epochs)."""
    found = select(runs, sweep="epochs", method=method)
    return {(n, e): cell for n, group in by(found, "examples").items() for e, cell in by(group, "epochs").items()}


def steps(runs: Runs) -> Pairs:
    """Compare more steps on the same 400 examples, and at equal steps the double, four and eightfold examples."""
    cell = reading(runs)
    again = {f"400 × {e}": cell[400, e] for e in (1, 6, 12, 24)}
    more = {
        f"{n} × 3 minus 400 × {3 * n // 400}": (cell[n, 3], cell[400, 3 * n // 400]) for n in (800, 1600, 3200)
    }
    return against(again, "400 × 3", cell[400, 3]) | more


def batch_cells(runs: Runs, method: str, task: str = "cron") -> dict[int, list[Mapping]]:
    """Return the runs of each size of a batch, as many steps with each, at its best rate."""
    if task == "cron":
        found = by(select(runs, sweep="batch at equal steps", method=method), "batch_size")
    else:
        found = by(select(runs, sweep=f"{task}: batch"), "batch_size")
        found[8] = select(runs, sweep=f"{task}: rank", r=8)
    return {size: tuned(group) for size, group in found.items()}


def batch(runs: Runs) -> Pairs:
    """Compare batches of 2 and of 32 with batches of 8 at equal steps, for LoRA and for full fine-tuning."""
    pairs = {}
    for method, name in (("LoRA", "LoRA"), ("full fine-tuning", "full")):
        cells = batch_cells(runs, method)
        pairs |= against({f"{name}: {size}": cells[size] for size in (2, 32)}, "8", cells[8])
    return pairs


def dropout(runs: Runs) -> Pairs:
    """Compare shares of dropout with none, where examples are seen often and where not."""
    pairs = {}
    for examples in (50, 400):
        cells = by(select(runs, sweep="dropout", examples=examples), "dropout")
        some = {f"{examples} examples, {share:g}": cell for share, cell in cells.items() if share}
        pairs |= against(some, "none", cells[0.0])
    return pairs


def starts(runs: Runs) -> Pairs:
    """Compare other starts of A and B, and LoRA+, with the default."""
    cells = {name: tuned(group) for name, group in by(select(runs, sweep="inits"), "method").items()}
    return against(cells, "the default", tuned(ranks(runs)[8]))


def ratio(lora: Runs, full: Runs) -> list[float]:
    """Return how far LoRA's best rate lies above that of full fine-tuning, in doublings: one number a seed.

    A seed chooses among the rates that all seeds ran.
    """
    best = []
    for group in (lora, full):
        seeds, rates = by(group, "seed"), by(group, "learning_rate")
        fair = [run for cell in rates.values() if len(cell) == len(seeds) for run in cell]
        chosen = {seed: max(cell, key=MEASURES["Test-A"]) for seed, cell in by(fair, "seed").items()}
        best.append({seed: run["run"]["learning_rate"] for seed, run in chosen.items()})
    return [float(np.log2(best[0][seed] / best[1][seed])) for seed in sorted(best[0].keys() & best[1].keys())]


def transfer(runs: Runs, task: str) -> dict[str, list[float]]:
    """Return five rules as differences, one a seed, positive where the rule holds: what a task says of each."""
    start = TASKS[task]
    lora = by(select(runs, sweep=f"{start}rank"), "r")
    full = select(runs, sweep=f"{start}full")
    best, where = {r: tuned(group) for r, group in lora.items()}, sets(runs, task)
    batches = batch_cells(runs, "LoRA", task)
    return {
        "LoRA's best rate lies above full fine-tuning's": ratio(lora[8], full),
        "r = 8 is ahead of r = 1": differences(best[8], best[1]),
        "r = 128 is ahead of r = 8": differences(best[128], best[8]),
        "all seven are ahead of q, v": differences(where["all seven"], where["q, v"]),
        "the MLP is ahead of attention": differences(where["MLP"], where["attention"]),
        "at equal steps batches of 32 are ahead of 2": differences(batches[32], batches[2]),
    }


def matched(runs: Runs, measure: str, within: float = 2.0) -> list[float]:
    """Return by how much more LoRA (r = 8) has of a measure than full fine-tuning at the same score: a mean a seed.

    Pairs are all runs of a seed, of any rate, above 85 % on Test-A and at most `within` points apart.
    """
    good = [run for run in runs if run["run"]["sweep"] in ("rank", "full", "twenty seeds") and is_good(run)]
    gaps: dict[int, list[float]] = {}
    for full in (run for run in good if run["run"]["method"] == "full fine-tuning"):
        for lora in (run for run in good if run["run"]["method"] == "LoRA" and run["run"]["r"] == 8):
            near = abs(MEASURES["Test-A"](lora) - MEASURES["Test-A"](full)) <= within
            if lora["run"]["seed"] == full["run"]["seed"] and near:
                gaps.setdefault(full["run"]["seed"], []).append(MEASURES[measure](lora) - MEASURES[measure](full))
    return [float(np.mean(gaps[seed])) for seed in sorted(gaps)]


def is_good(run: Mapping) -> bool:
    """Return whether a run learned the task and was read on four kinds of text."""
    return "text_losses" in run and MEASURES["Test-A"](run) >= 85


def square(runs: Runs) -> np.ndarray:
    """Return Test-A, a row for each draw of the examples and a column for each seed of order, start and dropout."""
    rows = by(select(runs, sweep="data and order"), "seed").values()
    return np.array([[MEASURES["Test-A"](run) for run in sorted(row, key=lambda run: run["run"]["chance"])] for row in rows])


def shares(scores: np.ndarray) -> tuple[float, float, float]:
    """Return how much of the variance of a table rows, columns and the rest explain: a two-way analysis of variance.

    What the rest alone would give to the rows and columns is taken off.

    Example:
        >>> shares(np.array([[90.0, 91.0], [70.0, 71.0]]))[0] > 0.9
        True
    """
    n, m = scores.shape
    rows, columns = scores.mean(1, keepdims=True), scores.mean(0, keepdims=True)
    rest = ((scores - rows - columns + scores.mean()) ** 2).sum() / ((n - 1) * (m - 1))
    parts = max(0.0, rows.var(ddof=1) - rest / m), max(0.0, columns.var(ddof=1) - rest / n), rest
    return tuple(float(part / sum(parts)) for part in parts)


def rounding(runs: Runs) -> list[float]:
    """Return by how much the same five trainings, run twice on one kind of machine, differ on Test-A."""
    return differences(*(select(runs, sweep=f"rounding, {when}") for when in ("once", "again")))


def page(runs: Runs) -> dict[str, Comparison]:
    """Return one comparison for each knob of the page to copy, each judged with its whole experiment."""
    rows = {}
    for label, found, name in headlines(runs):
        rows[label] = found[name]
    return rows
