"""Draw the README's picture: answers of the base model and of the tuned one, and their recorded scores.

`python experiments/before_after.py` writes docs/before_after.png from live answers and from results/.
"""

from pathlib import Path

import numpy as np

from lorautils import plots, results, setup
from lorautils.training import cron_prompt, evaluate, load_cron_model

PHRASES = [
    "every weekday at half past nine",
    "payday email on the 25th, quarter to six in the evening",
    "from october to march, every 20 minutes between 8am and noon",
]
PICTURE = Path(__file__).parent.parent / "docs" / "before_after.png"


def answers() -> list[tuple[str, str, str]]:
    """Return each phrase with the answer of the base model and of the tuned one."""
    model, tokenizer = load_cron_model()
    prompts = [cron_prompt(phrase) for phrase in PHRASES]
    after = evaluate(model, tokenizer, prompts)
    with model.disable_adapter():
        before = evaluate(model, tokenizer, prompts, max_new_tokens=12)
    return list(zip(PHRASES, before, after, strict=True))


def write_answers(axes) -> None:
    """Write the phrases with both answers into an empty panel."""
    axes.axis("off")
    for row, (phrase, before, after) in enumerate(answers()):
        top = 0.97 - 0.34 * row
        axes.text(0, top, f"“{phrase}”", fontsize=13, style="italic", va="top")
        axes.text(
            0.04, top - 0.10, f"before  {' '.join(before.split())[:46]} …", fontsize=12, color=plots.GREY, va="top"
        )
        axes.text(0.04, top - 0.19, f"after   {after}", fontsize=15, color=plots.BLUE, weight="bold", va="top")


def draw_scores(axes) -> None:
    """Draw the exact answers on each test, before and after, with 95 % intervals."""
    runs = [run for run in results.read("notebook_run.jsonl") if run["kind"] == "untouched"]
    tuned = results.read("adapter_scores.json")
    names = ["A: unseen\ntimes", "B: unseen\ncombinations", "C: people's\nown words"]
    for offset, colour, label, recorded in ((-0.2, plots.GREY, "before", runs), (0.2, plots.BLUE, "after", [tuned])):
        share, low, high = 100 * np.array(list(results.intervals(results.pooled(recorded, "equivalent")).values())).T
        place = np.arange(3) + offset
        axes.bar(place, share, 0.38, yerr=[share - low, high - share], capsize=4, color=colour, label=label)
        for x, value, top in zip(place, share, high, strict=True):
            axes.text(x, top + 2, f"{value:.0f}", ha="center", color=colour, weight="bold")
    axes.set(
        xticks=np.arange(3), xticklabels=names, ylim=(0, 112), yticks=range(0, 101, 25), ylabel="right answers (%)"
    )
    axes.legend(frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.13))


def main() -> None:
    """Draw both panels and save the picture."""
    setup()
    figure, (left, right) = plots.plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained", width_ratios=[1.35, 1])
    write_answers(left)
    draw_scores(right)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
    print("written:", PICTURE.name)


if __name__ == "__main__":
    main()
