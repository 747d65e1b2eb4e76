"""What notebook 09 asks of the sweeps: for each knob, pairs of settings that differ in nothing else.

Each function returns pairs[name] = (runs of one setting, runs of the other, the same seeds), which
`experiments.records.compare` judges seed by seed, as one family. Settings whose rate was tuned stand at their own best
rate. The notebook, the page docs/records.md and the tests read the pairs here.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from experiments.records import MEASURES, Comparison, by, compare, differences, family, paired, select, tuned

Runs = Sequence[Mapping]
Pairs = dict[str, tuple[Runs, Runs]]
TASKS = {"cron": "", "orders": "orders: ", "family": "family: "}  # what the names of their sweeps start with
TESTS = ("Test-A", "Test-C")
SETS = {2: "q, v", 4: "attention", 3: "MLP", 7: "all seven"}  # a set of targets, by how many names it has


def against(cells: Mapping[object, Runs], name: str, reference: Runs) -> Pairs:
    """Return each cell beside the reference, with the seeds that both have."""
    pairs = {}
    for cell, runs in cells.items():
        shared = by(runs, "seed").keys() & by(reference, "seed").keys()
        pairs[f"{cell} minus {name}"] = tuple(
            [run for run in group if run["run"]["seed"] in shared] for group in (runs, reference)
        )
    return pairs


def ranks(runs: Runs) -> dict[int, list[Mapping]]:
    """Return the runs of each rank, at all rates."""
    return by(select(runs, sweep="rank"), "r")


def rank(runs: Runs) -> Pairs:
    """Compare each rank with r = 8, each at its best rate."""
    best = {f"r = {r}": tuned(group) for r, group in ranks(runs).items()}
    return against({name: cell for name, cell in best.items() if name != "r = 8"}, "r = 8", best["r = 8"])


def full(runs: Runs) -> list[Mapping]:
    """Return the runs of full fine-tuning, at all rates: five seeds at the three in the middle, one at the others."""
    middle = select(runs, sweep="batch at equal steps", method="full fine-tuning", batch_size=8)
    rates = by(middle, "learning_rate")
    return [run for run in select(runs, sweep="full") if run["run"]["learning_rate"] not in rates] + middle


def rates(runs: Runs) -> Pairs:
    """Compare half, twice and four times the best rate of r = 8 with it."""
    best, cells = tuned(ranks(runs)[8]), by(ranks(runs)[8], "learning_rate")
    at = list(cells).index(best[0]["run"]["learning_rate"])
    places = {"half the best rate": at - 1, "twice the best rate": at + 1, "four times the best rate": at + 2}
    return {name: (list(cells.values())[place], best) for name, place in places.items()}


def twenty_seeds(runs: Runs) -> Pairs:
    """Compare r = 1, r = 128 and full fine-tuning with r = 8, twenty seeds each."""
    found = select(runs, sweep="twenty seeds")
    lora = by(select(found, method="LoRA"), "r")
    full = by(select(found, method="full fine-tuning"), "learning_rate")
    cells = {f"r = {r}": lora[r] for r in (1, 128)} | {f"full at {rate:g}": group for rate, group in full.items()}
    return against(cells, "r = 8", lora[8])


def alike(group: Runs) -> tuple[float, float, float]:
    """Return the best rate, and the lowest and highest with as many seeds that are not told apart from it in pairs."""
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


def guess(rule: str, r: int) -> float:
    """Return the rate that a rule for alpha should want: q times the scaling, a rate sqrt(q) times smaller.

    It starts from the best rate of alpha = 32, which is 2e-3.
    """
    scaling = {"alpha = 32": 32 / r, "rsLoRA": 32 / r**0.5, "alpha = 2 r": 2.0}[rule]
    return 2e-3 / (scaling * r / 32) ** 0.5


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
    best = {SETS[len(names)]: tuned(group) for names, group in groups.items()}
    return {name: best[name] for name in SETS.values()}


def targets(runs: Runs) -> Pairs:
    """Compare sets of targets with one another, at equal budget."""
    best = sets(runs, "cron")
    return {f"{one} minus {other}": (best[one], best[other]) for other, one in combinations(SETS.values(), 2)}


def reading(runs: Runs) -> dict[tuple[int, float], list[Mapping]]:
    """Return the runs of the sweep "epochs" by (examples, epochs)."""
    found = select(runs, sweep="epochs", method="LoRA")
    return {(n, e): cell for n, group in by(found, "examples").items() for e, cell in by(group, "epochs").items()}


def steps(runs: Runs) -> Pairs:
    """Compare more steps on the same 400 examples, and at equal steps the double, four and eightfold examples."""
    cell = reading(runs)
    again = {f"400 × {e}": cell[400, e] for e in (1, 6, 12, 24)}
    more = {f"{n} × 3 minus 400 × {3 * n // 400}": (cell[n, 3], cell[400, 3 * n // 400]) for n in (800, 1600, 3200)}
    return against(again, "400 × 3", cell[400, 3]) | more


def batch_cells(runs: Runs, method: str, task: str = "cron") -> dict[int, list[Mapping]]:
    """Return the runs of each size of a batch at its best rate, as many steps with each size."""
    if task == "cron":
        found = by(select(runs, sweep="batch at equal steps", method=method), "batch_size")
    else:
        eight = select(runs, sweep=f"{TASKS[task]}rank", r=8)
        found = by(select(runs, sweep=f"{TASKS[task]}batch", method=method) + eight, "batch_size")
    return {size: tuned(group) for size, group in found.items()}


def at_equal_examples(runs: Runs) -> dict[int, list[Mapping]]:
    """Return the runs of each size of a batch at its best rate, as many examples with each size."""
    groups = by(select(runs, sweep="batch"), "batch_size") | {8: ranks(runs)[8]}
    return {size: tuned(group) for size, group in sorted(groups.items())}


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


def judged(pairs: Pairs, *measures: str) -> dict[str, dict[str, Comparison]]:
    """Return what `compare` says of pairs in some measures, all one family: found[measure][pair]."""
    found = compare(family(pairs, *measures))
    return {measure: {pair: found[f"{pair}, {measure}"] for pair in pairs} for measure in measures}


def capacity(runs: Runs, measure: str) -> dict[int, dict[int, list[float]]]:
    """Return a measure of the runs that learn random pairs by heart: found[number of pairs][r], one value a seed."""
    numbers = by(select(runs, sweep="pairs: rank"), "examples")
    return {
        n: {r: [MEASURES[measure](run) for run in cell] for r, cell in by(group, "r").items()}
        for n, group in numbers.items()
    }


def too_many(runs: Runs) -> Pairs:
    """Compare each rank with r = 8 where there are more pairs than the steps suffice for."""
    cells = {f"r = {r}": group for r, group in by(select(runs, sweep="pairs: rank", examples=3200), "r").items()}
    return against({name: cell for name, cell in cells.items() if name != "r = 8"}, "r = 8", cells["r = 8"])


LAYERS = {(0, 9): "first ten", (10, 19): "middle ten", (20, 29): "last ten", (0, 27): "every third"}  # first and last


def places(runs: Runs) -> Pairs:
    """Compare ten layers at r = 24, and embeddings and head trained too, with all thirty layers at r = 8."""
    thirds = by(select(runs, sweep="layers"), "layers")
    cells = {LAYERS[layers[0], layers[-1]]: tuned(group) for layers, group in thirds.items()}
    cells = {name: cells[name] for name in LAYERS.values()}
    more = by(select(runs, sweep="embeddings"), "targets")
    cells |= {"embeddings" + " and head" * ("lm_head" in names): tuned(group) for names, group in more.items()}
    pairs = against(cells, "all thirty", tuned(ranks(runs)[8]))
    return pairs | {"every third minus first ten": (cells["every third"], cells["first ten"])}


def chances(runs: Runs) -> np.ndarray:
    """Return Test-A of 25 runs: a row for each seed of the data, a column for each seed of all else."""
    rows = by(select(runs, sweep="data and order"), "seed").values()
    return np.array([[MEASURES["Test-A"](cell[0]) for cell in by(row, "chance").values()] for row in rows])


def apart(scores: np.ndarray) -> tuple[float, float]:
    """Return how far apart two entries of a row are on average, and two that share neither row nor column."""
    gaps = np.abs(scores[:, :, None, None] - scores[None, None])
    row, column = (np.eye(n, dtype=bool) for n in scores.shape)
    same_row = row[:, None, :, None] & ~column[None, :, None, :]
    neither = ~row[:, None, :, None] & ~column[None, :, None, :]
    return float(gaps[same_row].mean()), float(gaps[neither].mean())


def gaps(runs: Runs) -> dict[str, float]:
    """Return how many points of Test-A two runs lie apart on average, by what they share."""
    scores = chances(runs)
    once, again = (select(runs, sweep=f"rounding, {which}") for which in ("once", "again"))
    (data, neither), (order, _) = apart(scores), apart(scores.T)
    both = float(np.abs(differences(once, again)).mean())
    return {"both alike": both, "the same data": data, "the same order": order, "neither alike": neither}


def scatter(scores: np.ndarray) -> tuple[float, float, float]:
    """Return the standard deviation of the means of the rows, and of what luck gives the median and 97.5 % quantile.

    Luck shuffles each column by itself, so that rows mean nothing: a permutation test. Rows and columns are two
    questions, so each gets half of the usual 5 %.
    """
    shuffled = np.random.default_rng(0).permuted(np.tile(scores, (9999, 1, 1)), axis=1)
    by_luck = np.quantile(shuffled.mean(2).std(1, ddof=1), (0.5, 0.975))
    return float(scores.mean(1).std(ddof=1)), *map(float, by_luck)


def settings(trial: Runs) -> dict[tuple, list[Mapping]]:
    """Return the runs of help with git by setting: (r, rate, batch, epochs), three seeds each."""
    found: dict[tuple, list[Mapping]] = {}
    for run in sorted(trial, key=lambda run: run["run"]["seed"]):
        names = ("r", "learning_rate", "batch_size", "epochs")
        found.setdefault(tuple(run["run"][name] for name in names), []).append(run)
    return found


def by_the_page(trial: Runs) -> dict[tuple, tuple[int, float]]:
    """Return what a reader of the page tries on help with git: six settings, at r = 8 and five epochs.

    Each has the right commands of the validation with seed 0, and the test's per cent over three seeds.
    """
    asked = [(8, rate, batch, 5) for batch in (16, 4) for rate in (1e-3, 2e-3, 4e-3)]
    cells = {setting: settings(trial)[setting] for setting in asked}
    return {
        setting: (group[0]["validation"]["right"], float(np.mean([MEASURES["git"](run) for run in group])))
        for setting, group in cells.items()
    }


def tried(trial: Runs) -> dict[str, list[float]]:
    """Return what help with git says of the page: differences of right commands in per cent, one a seed.

    A knob is read as a mean over the others, at the page's three rates.
    """
    cells, mean = settings(trial), {}
    chosen = max((page := by_the_page(trial)), key=lambda setting: page[setting][0])
    best = max(cells, key=lambda setting: np.mean([MEASURES["git"](run) for run in cells[setting]]))
    score = {setting: np.array([MEASURES["git"](run) for run in group]) for setting, group in cells.items()}
    for place, name in ((0, "r ="), (2, "batch"), (3, "epochs")):
        for value in sorted({setting[place] for setting in cells}):
            alike = [s for key, s in score.items() if key[place] == value and 1e-3 <= key[1] <= 4e-3]
            mean[f"{name} {value}"] = np.mean(alike, axis=0)
    asked = [("epochs 5", "epochs 2"), ("r = 8", "r = 2"), ("r = 32", "r = 8"), ("batch 4", "batch 16")]
    found = {
        "the page's choice minus the best of 60": score[chosen] - score[best],
        "the page's choice minus the mean of 60": score[chosen] - np.mean(list(score.values()), axis=0),
    }
    found |= {f"{one} minus {other}": mean[one] - mean[other] for one, other in asked}
    return {name: values.tolist() for name, values in found.items()}


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
    """Return rules as differences on a task, one a seed, positive where the rule holds.

    On the other tasks a rate is one of three, of four for full fine-tuning.
    """
    lora = by(select(runs, sweep=f"{TASKS[task]}rank"), "r")
    other = full(runs) if task == "cron" else select(runs, sweep=f"{TASKS[task]}full")
    best = {r: tuned(group) for r, group in lora.items()}
    where, sizes = sets(runs, task), batch_cells(runs, "LoRA", task)
    return {
        "LoRA's best rate is above full fine-tuning's": ratio(lora[8], other),
        "r = 8 is ahead of r = 1": differences(best[8], best[1]),
        "r = 8 is ahead of r = 128": differences(best[8], best[128]),
        "all seven are ahead of q, v": differences(where["all seven"], where["q, v"]),
        "MLP is ahead of attention": differences(where["MLP"], where["attention"]),
        "all seven are ahead of MLP": differences(where["all seven"], where["MLP"]),
        "batches of 32 are ahead of 8, equal steps": differences(sizes[32], sizes[8]),
    }


def matched(runs: Runs, measure: str) -> list[float]:
    """Return by how much more LoRA (r = 8) has of a measure than full fine-tuning at the same score: a mean a seed.

    Pairs are all runs of a seed, of any rate, above 85 % on Test-A and at most two points apart.
    """
    good = [run for run in runs if run["run"]["sweep"] in ("rank", "full", "twenty seeds") and is_good(run)]
    gaps: dict[int, list[float]] = {}
    for full in (run for run in good if run["run"]["method"] == "full fine-tuning"):
        for lora in (run for run in good if run["run"]["method"] == "LoRA" and run["run"]["r"] == 8):
            near = abs(MEASURES["Test-A"](lora) - MEASURES["Test-A"](full)) <= 2
            if lora["run"]["seed"] == full["run"]["seed"] and near:
                gaps.setdefault(full["run"]["seed"], []).append(MEASURES[measure](lora) - MEASURES[measure](full))
    return [float(np.mean(gaps[seed])) for seed in sorted(gaps)]


def is_good(run: Mapping) -> bool:
    """Return whether a run learned the task and was read on four kinds of text."""
    return "text_losses" in run and MEASURES["Test-A"](run) >= 85


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


def repeats(runs: Runs) -> list[tuple[float, float]]:
    """Return, for each training that two sweeps recorded, how far apart they are: points on Test-A, nats of English.

    At r = 1 rsLoRA is LoRA, since alpha / sqrt(r) is alpha / r.
    """
    same: dict[str, list[Mapping]] = {}
    for run in (run for run in runs if ":" not in run["run"]["sweep"]):
        fields = run["run"] | {"sweep": "", "epochs": float(run["run"]["epochs"])}
        if fields["method"] == "rsLoRA" and fields["r"] == 1:
            fields["method"] = "LoRA"
        same.setdefault(str(sorted(fields.items())), []).append(run)
    several = [group for group in same.values() if len(group) > 1]
    values = [[[MEASURES[name](run) for run in group] for name in ("Test-A", "English")] for group in several]
    return [tuple(max(found) - min(found) for found in both) for both in values]


HEADLINES = (  # of the page to copy: what is turned, the experiment that asks, its name there
    ("half the best rate", rates, "half the best rate"),
    ("twice the best rate", rates, "twice the best rate"),
    ("r = 1, not 8", twenty_seeds, "r = 1 minus r = 8"),
    ("r = 128, not 8", twenty_seeds, "r = 128 minus r = 8"),
    ("full fine-tuning, not LoRA", twenty_seeds, "full at 0.0002 minus r = 8"),
    ("alpha = 2 r, at r = 8", alpha, "alpha = 2 r minus alpha = 32, r = 8"),
    ("rsLoRA, at r = 128", alpha, "rsLoRA minus alpha = 32, r = 128"),
    ("all seven, not q, v", targets, "all seven minus q, v"),
    ("the MLP, not attention", targets, "MLP minus attention"),
    ("400 examples 12 times, not 3", steps, "400 × 12 minus 400 × 3"),
    ("1,600 examples, equal steps", steps, "1600 × 3 minus 400 × 12"),
    ("batches of 32, equal steps", batch, "LoRA: 32 minus 8"),
    ("dropout 0.1 on 50 examples", dropout, "50 examples, 0.1 minus none"),
    ("LoRA+", starts, "LoRA+ minus the default"),
)


def page(runs: Runs) -> dict[str, dict[str, Comparison]]:
    """Return what each line of the page rests on, by test: page["Test-A"]["r = 1, not 8"].

    Each is judged with its whole experiment, all of whose questions are asked of both tests.
    """
    judged = {asks: compare(family(asks(runs), *TESTS)) for _, asks, _ in HEADLINES}
    return {test: {label: judged[asks][f"{name}, {test}"] for label, asks, name in HEADLINES} for test in TESTS}
