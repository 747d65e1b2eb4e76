"""Which trainings the sweeps are made of: the runs, their learning rates, their seeds.

sweeps.py executes them. A run that needs the best of others is known once those are recorded.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from itertools import product

from experiments.common import key, recorded
from lorautils.lora import PROJECTIONS
from lorautils.results import RESULTS

RECORD = RESULTS / "sweeps.jsonl"
ATTENTION, MLP = PROJECTIONS[:4], PROJECTIONS[4:]


@dataclass(frozen=True)
class Run:
    """One training: everything that decides its result."""

    sweep: str
    seed: int
    learning_rate: float
    method: str = "LoRA"
    r: int = 8
    alpha: float = 32
    targets: tuple[str, ...] = tuple(PROJECTIONS)
    dropout: float = 0.1
    examples: int = 400
    epochs: float = 3
    batch_size: int = 8
    layers: tuple[int, ...] | None = None  # None: all
    chance: int | None = None  # the seed of all but the data; None: the same one

    @property
    def task(self) -> str:
        """Return what is trained: a sweep is named "task: question", and without a task it is on cron."""
        return self.sweep.partition(":")[0] if ":" in self.sweep else "cron"

    def fields(self) -> dict:
        """Return the fields as they are recorded: the last two only where they are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


RATES = [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3]
FULL_RATES = [2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4]
# Sets of targets with nearly as many parameters as q, v at r = 32: 1.84 million.
BUDGET = {("q_proj", "v_proj"): 32, tuple(ATTENTION): 16, tuple(MLP): 10, tuple(PROJECTIONS): 6}
METHOD_RATES = {
    "rsLoRA": [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3],
    "DoRA": [5e-4, 1e-3, 2e-3, 4e-3],
    "PiSSA": [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3],
    "VeRA": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.3e-1],
    "IA3": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.3e-1],
    "prefix tuning": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2],
    "prompt tuning": [4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.3e-1, 2.6e-1, 5e-1],
}
INIT_RATES = {name: [5e-4, 1e-3, 2e-3, 4e-3] for name in ["gaussian", "orthogonal", "EVA"]} | {
    "OLoRA": [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3],
    "LoRA+": [1.2e-4, 2.5e-4, 5e-4, 1e-3, 2e-3],
}
MORE_METHOD_RATES = {
    "OFT": [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3],
    "LoHa": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    "LoKr": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    "SHiRA": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    "MiSS": [1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3],
    "LN tuning": [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2],
    "LLaMA-Adapter": [2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2],
}
SEEDS = range(5)
# (examples, epochs): 50 to 1,200 steps of eight, by reading 400 examples again or by more of them
EQUAL_STEPS = [(400, 1), (400, 3), (400, 6), (400, 12), (400, 24), (800, 3), (1600, 3), (3200, 3), (3200, 1)]


def around_the_best(grid: list[Run], seeds: range = SEEDS) -> list[Run]:
    """Return, for each cell of a recorded grid, its best learning rate and the two beside it, with every seed.

    A cell is what differs in nothing but learning rate; best is the most exact answers on Test-A. Cells whose grid is
    not complete are left out.
    """
    exact = {key(record["run"]): record["scores"]["A"]["exact"] for record in recorded(RECORD)}
    cells: dict[Run, list[Run]] = {}
    for run in grid:
        cells.setdefault(replace(run, learning_rate=0.0), []).append(run)
    chosen = []
    for runs in cells.values():
        if all(key(run.fields()) in exact for run in runs):
            best = max(range(len(runs)), key=lambda i: exact[key(runs[i].fields())])
            chosen += [replace(run, seed=seed) for run in runs[max(best - 1, 0) : best + 2] for seed in seeds]
    return chosen


def grids() -> dict[str, list[Run]]:
    """Return the first sweeps: a grid of learning rates with one seed, then more seeds around the best rate."""
    rank = [Run("rank", 0, rate, r=r) for r, rate in product([1, 4, 8, 32, 128, 256], RATES)]
    targets = [Run("targets", 0, rate, targets=names, r=r) for (names, r), rate in product(BUDGET.items(), RATES[1:])]
    full = [Run("full", 0, rate, method="full fine-tuning") for rate in FULL_RATES]
    methods, inits, more = (
        [Run(sweep, 0, rate, method=name) for name, rates in tuned.items() for rate in rates]
        for sweep, tuned in [("methods", METHOD_RATES), ("inits", INIT_RATES), ("more methods", MORE_METHOD_RATES)]
    )
    alpha = [
        Run("alpha", 0, rate, r=r, alpha=2 * r) for r, rate in product([1, 8, 32, 128], [*RATES[1:], 1.6e-2, 3.2e-2])
    ]
    alpha += [Run("alpha", 0, rate, r=r, method="rsLoRA") for r, rate in product([1, 32, 128], RATES[:5])]
    batch = [Run("batch", 0, rate, batch_size=size) for size, rate in product([2, 4, 16, 32], RATES[1:])]
    return {
        "rank": rank,
        "targets": targets,
        "full": full,
        "methods": methods,
        "full seeds": around_the_best(full, range(3)),
        "rank seeds": around_the_best(rank),
        "targets seeds": around_the_best(targets),
        "methods seeds": around_the_best(methods),
        "examples": [
            Run("examples", s, 2e-3, examples=n) for n, s in product([25, 50, 100, 200, 800, 1600, 3200], SEEDS)
        ],
        "dropout": [
            Run("dropout", s, 2e-3, dropout=p, examples=n, epochs=1200 / n)
            for n, p, s in product([50, 400], [0.0, 0.05, 0.1, 0.3], SEEDS)
        ],
        "alpha": alpha,
        "batch": batch,
        "inits": inits,
        "more methods": more,
        "alpha seeds": around_the_best(alpha),
        "batch seeds": around_the_best(batch),
        "inits seeds": around_the_best(inits),
        "more methods seeds": around_the_best(more),
    }


def bracketed(grid: list[Run]) -> list[Run]:
    """Return, for each cell of a grid, five seeds of the rates beside its best one, which then lies between others.

    Best is the highest mean of Test-A among the rates with five seeds. Where a grid ends, its rates go on by factors
    of two. What this returns is recorded, and changes the best, until nothing is missing.
    """
    exact = defaultdict(list)
    for record in recorded(RECORD):
        run = record["run"]
        exact[key(run | {"seed": 0})].append(record["scores"]["A"]["exact"])
    cells = defaultdict(set)
    for run in grid:
        cells[replace(run, learning_rate=0.0, seed=0)].add(run.learning_rate)
    chosen = []
    for cell, rates in cells.items():
        found = {rate: exact[key(replace(cell, learning_rate=rate).fields())] for rate in steps_of_two(rates)}
        means = {rate: sum(scores) / len(scores) for rate, scores in found.items() if len(scores) >= len(SEEDS)}
        if means:
            at = list(found).index(max(means, key=means.get))
            beside = list(found)[at - 1 : at + 2]
            chosen += [replace(cell, learning_rate=rate, seed=seed) for rate in beside for seed in SEEDS]
    return chosen


def steps_of_two(rates: set[float]) -> list[float]:
    """Return the rates in order, with three more on either side, each half or twice its neighbour."""
    rates = sorted(rates)
    return [rates[0] / 8, rates[0] / 4, rates[0] / 2, *rates, rates[-1] * 2, rates[-1] * 4, rates[-1] * 8]


STANDARD = ("LoRA", 8, 2e-3)
FULL = [("full fine-tuning", 8, 1e-4), ("full fine-tuning", 8, 2e-4)]
TRIED = [("LoRA", [1e-3, 2e-3, 4e-3]), ("full fine-tuning", [1e-4, 2e-4, 4e-4])]


def steps_and_seeds() -> dict[str, list[Run]]:
    """Return what takes steps and batches apart, and how much chance there is."""
    several = [STANDARD, ("LoRA", 1, 2e-3), ("LoRA", 128, 2e-3), *FULL]
    return {
        "twenty seeds": [Run("twenty seeds", s, rate, method, r=r) for s in range(20) for method, r, rate in several],
        "epochs": [
            Run("epochs", seed, rate, method, examples=n, epochs=epochs)
            for seed in SEEDS
            for (method, _, rate), (n, epochs) in product([STANDARD, FULL[1]], EQUAL_STEPS)
        ],
        "batch at equal steps": [
            Run("batch at equal steps", seed, rate, method, batch_size=size, epochs=3 * size / 8)
            for seed in SEEDS
            for (method, rates), size in product(TRIED, [2, 8, 32])
            for rate in rates
        ],
        "data and order": [Run("data and order", seed, 2e-3, chance=chance) for seed, chance in product(SEEDS, SEEDS)],
        **{name: [Run(name, seed, 2e-3) for seed in SEEDS] for name in ("rounding, once", "rounding, again")},
    }


THIRDS = {"first": range(10), "middle": range(10, 20), "last": range(20, 30), "each third": range(0, 30, 3)}


def places() -> dict[str, list[Run]]:
    """Return where the numbers of an adapter are put: in which layers, and in the embeddings and the head, too."""
    rates = TRIED[0][1]
    with_embeddings = [(*PROJECTIONS, "embed_tokens"), (*PROJECTIONS, "embed_tokens", "lm_head")]
    return {
        "layers": [
            Run("layers", seed, rate, r=24, layers=tuple(layers))
            for seed, layers, rate in product(SEEDS, THIRDS.values(), rates)
        ],
        "embeddings": [
            Run("embeddings", seed, rate, targets=targets)
            for seed, targets, rate in product(SEEDS, with_embeddings, rates)
        ],
    }


def transfer(task: str) -> dict[str, list[Run]]:
    """Return the questions about rank, full fine-tuning, targets and batch, asked of another task."""
    rates = TRIED[0][1]

    def name(question: str) -> str:
        return f"{task}: {question}"

    return {
        name("rank"): [Run(name("rank"), seed, rate, r=r) for seed, r, rate in product(SEEDS, [1, 8, 32, 128], rates)],
        name("full"): [Run(name("full"), seed, rate, TRIED[1][0]) for seed, rate in product(SEEDS, FULL_RATES[1:5])],
        name("targets"): [
            Run(name("targets"), seed, rate, targets=targets, r=r)
            for seed, (targets, r), rate in product(SEEDS, BUDGET.items(), rates)
        ],
        name("batch"): [
            Run(name("batch"), seed, rate, batch_size=size, epochs=3 * size / 8)
            for seed, size, rate in product(SEEDS, [2, 32], rates)
        ],
    }


def capacity() -> dict[str, list[Run]]:
    """Return random pairs learned by heart, 1,200 steps of 32: rank against their number."""
    return {
        "pairs: rank": [
            Run("pairs: rank", seed, 2e-3, r=r, dropout=0.0, examples=n, epochs=38400 / n, batch_size=32)
            for seed, r, n in product(range(3), [1, 2, 8, 32, 128], [200, 800, 3200])
        ]
    }


def sweeps() -> dict[str, list[Run]]:
    """Return the runs of every sweep."""
    first = grids()
    tuned = [
        run for name in ("rank", "targets", "full", "methods", "alpha", "inits", "more methods") for run in first[name]
    ]
    return {
        **first,
        **steps_and_seeds(),
        "bracketed": bracketed(tuned),
        **transfer("orders"),
        **transfer("family"),
        **capacity(),
        **places(),
    }


def minutes(runs: list[Run]) -> float:
    """Return how long runs take on an H200 that fourteen processes share: 3,000 steps a minute, and 20 runs' scores."""
    return sum(run.examples * run.epochs / run.batch_size for run in runs) / 3000 + len(runs) / 20
