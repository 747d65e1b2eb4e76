"""Draw the README's picture: answers of the base model and of the tuned one, and their recorded scores.

`python -m experiments.before_after` writes docs/before_after.png: two minutes on a laptop CPU.
"""

import numpy as np

from lorautils import ROOT, plots, results, setup
from lorautils.evaluation import evaluate, load_adapter
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_prompt

PHRASES = [
    "every weekday at half past nine",
    "payday email on the 25th, quarter to six in the evening",
    "weekdays except wednesday, 5:30 pm",
]
TESTS = {"A": cron.test_a(200), "B": cron.test_b(200), "F": cron.hand_written("test_f", "schedule")}
PICTURE = ROOT / "docs" / "before_after.png"


def write_answers(axes, model, tokenizer) -> None:
    """Write the phrases with the answers of the base model and of the tuned one into an empty panel."""
    prompts = [cron_prompt(phrase) for phrase in PHRASES]
    tuned = evaluate(model, tokenizer, prompts)
    with model.disable_adapter():
        base = evaluate(model, tokenizer, prompts, max_new_tokens=12)
    axes.axis("off")
    for row, (phrase, before, after) in enumerate(zip(PHRASES, base, tuned, strict=True)):
        top = 1 - 0.35 * row
        before = " ".join(before.split())[:40].strip()
        axes.text(-0.12, top, f"“{phrase}”", fontsize=14, style="italic", va="top")
        axes.text(-0.08, top - 0.11, f"before  {before} …", fontsize=14, color=plots.GREY, va="top")
        axes.text(-0.08, top - 0.21, f"after   {after}", fontsize=17, color=plots.BLUE, weight="bold", va="top")


def untouched_scores(model, tokenizer) -> dict:
    """Score the base model on the tests that the picture shows."""
    with model.disable_adapter():
        prompts = {name: [cron_prompt(case.text) for case in cases] for name, cases in TESTS.items()}
        answers = {name: evaluate(model, tokenizer, prompts[name], batch_size=64) for name in TESTS}
    return {name: cron.score(answers[name], cases)._asdict() for name, cases in TESTS.items()}


def draw_scores(axes, before: dict, after: dict) -> None:
    """Draw the right answers on each test, before and after, with 95 % intervals."""
    for offset, colour, label, scores in ((-0.2, plots.GREY, "before", before), (0.2, plots.BLUE, "after", after)):
        counts = results.pooled([{"scores": {name: scores[name] for name in TESTS}}], "equivalent")
        share, low, high = 100 * np.array(list(results.intervals(counts).values())).T
        place = np.arange(len(TESTS)) + offset
        axes.bar(place, share, 0.38, yerr=[share - low, high - share], capsize=4, color=colour, label=label)
        for x, value, top in zip(place, share, high, strict=True):
            axes.text(x, top + 2, f"{value:.0f}", ha="center", color=colour, weight="bold")
    names = ["unseen\ntimes", "unseen\ncombinations", "written one by one,\nunseen (test F)"]
    axes.set(
        xticks=np.arange(3), xticklabels=names, ylim=(0, 112), yticks=range(0, 101, 25), ylabel="right answers (%)"
    )
    axes.legend(frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.13))


def main() -> None:
    """Draw both panels and save the picture."""
    setup()
    model, tokenizer = load_adapter(cron.ADAPTER)
    figure, (above, below) = plots.plt.subplots(2, 1, figsize=(6.4, 6.4), layout="constrained")  # a telephone's shape
    write_answers(above, model, tokenizer)
    draw_scores(below, untouched_scores(model, tokenizer), results.read("adapter_scores.json")["scores"])
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=200)
    print("written:", PICTURE.name)


if __name__ == "__main__":
    main()
