"""Predictions that are answered: what held is what the stored outputs show; a guess is kept and never counted.

The forms of the pages and the cells of the working copies are used in test_site.py, test_fresh.py and test_browser.py.
"""

import json
import re
from collections.abc import Callable

import nbformat
import notebook_rules as rules
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lorautils.exercises import predictions
from tools.guesses import answered, plain, questions

COURSE = {name[:2]: nb for name, nb in rules.course().items()}
ASKED = {
    f"{number}#{cell.id}": cell.metadata.predict for number, nb in COURSE.items() for cell in filter(answered, nb.cells)
}
Out = Callable[[str], str]  # what a cell of the same notebook printed and showed, figures in words


def first(text: str, pattern: str) -> float:
    return float(re.search(pattern, text, re.MULTILINE)[1])


def lowest(rows: list[tuple[str, str]]) -> str:
    """The name of the row with the lowest first number."""
    return min(rows, key=lambda row: float(row[1]))[0].strip()


def nearest(value: float, choices: dict[float, str]) -> str:
    return choices[min(choices, key=lambda choice: abs(choice - value))]


def outcomes(text: str) -> list[str]:
    return re.findall(r"Verdict: (yes|no|cannot tell)\.", text)


def tilted(out: Out) -> str:
    straight, slanted = re.findall(r"([\d.]+) from b", out("light-figure"))
    if first(out("oblique"), r"slant +gap ([\d.]+)"):
        return "all three"
    return "only the place" if straight == slanted else "the place and the distance"


def swapped(out: Out) -> str:
    costs = r"costs ([\d.]+) nats in the middle layers, all three cost (\d+\.\d+)"
    one, three = re.search(costs, out("whole-swap-verdict")).groups()
    return "milder" if float(three) < 0.8 * float(one) else "as bad or worse"


def worst_for_an_adapter(out: Out) -> str:
    names = {
        "float32, adapter beside W": "beside float32",
        "bf16, merged in float32, then rounded": "rounded to bf16",
        "NF4, adapter beside packed W": "beside NF4",
        "NF4, merged in float32, then packed": "merged in float32, then packed",
        "NF4, merged into packed W": "merged into packed NF4",
    }
    loss = {name: first(out("stored-answers"), rf"^{re.escape(row)} +\S+ +([\d.]+)") for row, name in names.items()}
    return max(loss, key=loss.get)


def packed_wrongly(out: Out) -> str:
    lines = ("alone", "positions go on", "everybody sees all")
    alone, *wrong = (first(out("packing-lab"), rf"{line} +([\d.]+)") for line in lines)
    return "one raises it, one lowers it" if min(wrong) < alone < max(wrong) else "another"


HELD: dict[str, Callable[[Out], str | float]] = {
    "00#predict-base": lambda out: "no cron at all" if "valid=0)" in out("score-base") else "some cron",
    "00#predict-few-shot": lambda out: max(map(int, re.findall(r"(\d+) of 10 exact", out("few-shot")))),
    "00#lab-weights": lambda out: first(out("lab-weights-run"), r"(\d+) by loading"),
    "00#lab-disable": lambda out: ", then ".join(
        "cron" if "30 9 * * 1-5" in line else "no cron" for line in out("lab-disable-run").splitlines()
    ),
    "00#six-6": lambda out: f"{float(lowest(re.findall(r'rate (.+?): loss .+ -> (.+)', out('six-6-step')))):g}",
    "01#read-rounding": lambda out: first(out("rounding-alone"), r"q_proj, layer 10:.+ ([\d.]+) from rounding"),
    "01#part-algebra": lambda out: f"{first(out('m-squared'), r'rank: (.+)'):g}",
    "01#lab-merged": lambda out: f"{first(out('lab-merged-run'), r'rank of W . B A: (.+)'):g}",
    "01#part-information": lambda out: first(out("lab-information"), r"flower .+ ([\d.]+)%"),
    "01#adamw-question": lambda out: f"{first(out('adamw-step'), r'AdamW one of rank ([0-9]+)'):g}",
    "02#predict-truncation": lambda out: first(out("truncate-all"), r"^ *480 +\S+ +([\d.]+)"),
    "02#control-why": lambda out: "the cut" if set(outcomes(out("noise-control"))) == {"yes"} else "another",
    "02#predict-aware": lambda out: first(out("attention-only"), r"^prose +([\d.]+)"),
    "02#predict-cut-update": lambda out: first(out("cut-update-run"), r"8 directions: (\d+) of 40"),
    "02#read-cut-update": lambda out: "better" if outcomes(out("update-verdict"))[0] == "yes" else "another",
    "03#part-light": tilted,
    "03#pca-idea": lambda out: nearest(first(out("pca"), r"kept: (.+)"), {0.003: "0.3 %", 0.05: "5 %", 0.5: "50 %"}),
    "03#lab-picture": lambda out: first(out("lab-picture-run"), r"the best plane: same neighbour (\d+) of 70"),
    "03#predict-flip": lambda out: (
        "another" if first(out("flip-run"), r"sign: .+ the logits move by ([\d.]+)") else "nothing at all"
    ),
    "03#lab-head": lambda out: (
        "the oblique one"
        if first(out("lab-head-verdict"), r"oblique +error +\S+ to (.+)") == 0
        and first(out("lab-head-verdict"), r"orthogonal +error +(\S+) to") > 0.5
        else "another"
    ),
    "04#predict-scores": lambda out: first(out("paris-scores"), r"'France': ([\d.]+)"),
    "04#predict-divisor": lambda out: (
        "nothing"
        if first(out("divisors"), r"and W_Q / 8: ([\d.]+)") == first(out("divisors"), r"8: ([\d.]+)")
        else "something"
    ),
    "04#lab-o": lambda out: lowest(
        list(
            zip(
                ("no attention", "the identity, scaled", "a rotation, scaled", "a rotation, scaled"),
                re.search(r"no attention: (\S+)\n.+: (\S+) (\S+) (\S+)", out("lab-o-run")).groups(),
                strict=True,
            )
        )
    ),
    "04#part-induction": lambda out: first(out("repeat-search"), r"seed 0: loss \S+, then (\S+)"),
    "05#lab-valve": lambda out: (
        "by several nats"
        if first(out("lab-valve-verdict"), r"to (\S+) nats") - first(out("lab-valve-verdict"), r"from (\S+) to") > 2
        else "less"
    ),
    "05#lab-silu": lambda out: (
        "no" if first(out("lab-silu-run"), r"^down\(gate x \* up x\).+ by (\d+)%") > 10 else "yes"
    ),
    "05#predict-ablation": lambda out: (
        "a few layers do most" if first(out("ablation-table"), r"Three of thirty do (\d+)%") > 50 else "another"
    ),
    "05#predict-whole-swap": swapped,
    "06#read-starts": lambda out: lowest(re.findall(r"^(\w+ \w+, \w+ \w+) +(\S+)", out("starts-race"), re.MULTILINE)),
    "06#predict-held-out": lambda out: lowest(re.findall(r"^(.+?) +held out .+ after (\S+)", out("starts-turn"), re.M)),
    "06#part-saves": lambda out: first(out("flops-run"), r"(\d+)% of the arithmetic is left"),
    "06#read-survived": worst_for_an_adapter,
    "06#part-alpha": lambda out: (
        "(b)" if not first(out("alpha-adam"), r"half the rate of B is ([\d.]+)") else "another"
    ),
    "07#read-audit": lambda out: "no, something stays" if "are frozen now" in out("unload") else "yes",
    "07#part-targets": lambda out: len(re.findall(r" error$", out("matching-run"), re.MULTILINE)),
    "07#part-init": lambda out: "no" if first(out("init-run"), r"^pissa +\S+ +\S+ +(\S+)") else "yes",
    "08#predict-pad": lambda out: "it carries no loss" if "4 of 4 stop tokens carry no loss" in out("pad-lab") else "?",
    "08#part-baselines": lambda out: 0.2 * first(out("rules"), r"Test-A: (\d+)% right"),
    "08#part-forgetting": lambda out: {1: "yes", 2: "it depends"}[len(set(outcomes(out("forgetting-recorded"))))],
    "08#part-save": lambda out: first(out("save"), r"safetensors +(\S+) MB"),
    "08#predict-newline": lambda out: first(out("newline-lab"), r"no newline +(\d+) of 10"),
    "09#seed-luck-why": lambda out: (
        "neither alone" if first(out("seed-luck"), r"their meeting (\d+)%") > 50 else "another"
    ),
    "09#lab-ten-times": lambda out: nearest(
        first(out("lab-ten-times-run"), r"On average (\d+) times"),
        {1: "the same", 3: "about 3", 10: "about 10", 100: "about 100"},
    ),
    "09#part-examples": lambda out: float(re.findall(r"yes\. ([\d.]+) points", out("steps-or-data-run"))[1]),
    "09#part-batch": lambda out: (
        "32"
        if first(out("batch-table"), r"LoRA: 2 minus 8, Test-A +(\S+)")
        < 0
        < first(out("batch-table"), r"32 minus 8, Test-A +(\S+)")
        else "another"
    ),
    "09#part-forgetting": lambda out: "LoRA" if outcomes(out("forgetting-matched")) == ["yes"] else "another",
    "10#part-eight": lambda out: len(re.findall(r" [\d.]+ \(\S+ to \S+\) +seen", out("methods-pairs"))),
    "10#part-forgetting": lambda out: (
        "full fine-tuning" if re.search(r"^full fine-tuning.+\) nats +seen", out("matched-verdict")) else "another"
    ),
    "10#read-benchmark": lambda out: (
        first(out("lab-luckiest"), r"noise 0.0: (\S+) %") - 47.7  # the mean of the 29, in the text
    ),
    "10#lab-merge": lambda out: 100 * first(out("merge-errors"), r"layer 10: .+English ([\d.]+)"),
    "11#lab-adds": lambda out: re.search(r"after loading both: \['(\w+)'\]", out("lab-adds-run"))[1],
    "11#kv-intro": lambda out: "no" if first(out("kv-cache-run"), r"orders is (\S+) away") else "yes",
    "11#part-second": lambda out: first(out("second-table"), r"^same adapter goes on +\S+ \S+ +(\d+)"),
    "11#read-grpo-group": lambda out: (
        "valid ones only" if outcomes(out("grpo-verdict")) == ["yes", "cannot tell"] else "another"
    ),
    "11#part-4bit": lambda out: first(out("bytes-4bit"), r"Verdict: \w+\. (\d+) MB"),
    "12#predict-largest": lambda out: nearest(
        first(out("first-ledger"), r"activations +(\S+)") / first(out("first-ledger"), r"weights +(\S+)"),
        {0.1: "a tenth of the weights", 0.5: "half of the weights", 2.0: "twice the weights"},
    ),
    "12#lab-third": lambda out: nearest(
        first(out("lab-third-run"), r"adds (\d+) %"), {25: "a quarter", 33: "a third", 50: "half"}
    ),
    "12#lab-mean": lambda out: (
        "only if both have as many answer tokens" if re.search(r"by 0\.0[1-9]", out("lab-mean-run")) else "always"
    ),
    "12#lab-one-process": lambda out: (
        "one in both" if re.findall(r"sees ([12])", out("lab-one-process-run"))[:2] == ["1", "1"] else "another"
    ),
    "12#lab-bf16": lambda out: first(out("lab-bf16-shares"), r"bfloat16, step 0.00001: (\S+) %"),
    "13#part-step": lambda out: (
        "slower"
        if first(out("step-faster"), r"(\d+) tokens") < 0.95 * first(out("step-faster"), r"full fine-tuning (\d+)")
        else "another"
    ),
    "13#predict-kernels": lambda out: first(out("layer-kernels"), r"LoRA in PEFT +(\d+) kernels"),
    "13#thief-head": lambda out: first(out("thief-head-run"), r"(\d+)% less"),
    "13#gpu-thieves-words": lambda out: (
        "at the largest only" if outcomes(out("gpu-thieves")) == ["no", "no", "yes"] else "another"
    ),
    "13#limit-words": lambda out: first(out("limit-again"), r"HFU (\S+)%"),
    "14#rivals": lambda out: 0.6 * first(out("nearest"), r"copied: (\d+) %"),
    "14#read-packing": packed_wrongly,
    "14#part-rows": lambda out: (
        first(out("rows-verdict"), r"(\d+) % of Test-C") - first(out("rows-verdict"), r", (\d+) %")
    ),
    "14#read-wordings": lambda out: 0.36 * first(out("judges"), r"longer +agrees in (\d+) %"),
    "15#ask-why": lambda out: (
        "only 4" if ["30 9" in line for line in out("ask").splitlines()] == [True, True, True, False] else "another"
    ),
    "15#parity-why": lambda out: 12 - first(out("parity"), r"Q4_1, merged +\d+ right, (\d+) PEFT's text"),
    "15#part-broken": lambda out: first(out("broken"), r"rows of q and k as they are +(\d+) right"),
    "15#read-paging": lambda out: {"no": "no", "yes": "yes"}[outcomes(out("mixed-verdict"))[0]],
}


def shown(nb: nbformat.NotebookNode, cell_id: str) -> str:
    (cell,) = (cell for cell in nb.cells if cell.id == cell_id)
    parts = []
    for output in cell.outputs:
        parts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
        parts.append(output.get("metadata", {}).get("image/png", {}).get("alt", ""))
    return "\n".join(part.strip("\n") for part in parts if part)


@pytest.mark.parametrize("place", ASKED)
def test_what_is_said_to_hold_is_what_the_notebook_shows(place):
    answer, found = ASKED[place].answer, HELD[place](lambda cell_id: shown(COURSE[place[:2]], cell_id))
    assert predictions.held(answer, found), f"the outputs give {found!r}, the metadata {answer!r}"
    if "choices" in ASKED[place]:
        assert answer in ASKED[place].choices


@pytest.mark.parametrize("number", COURSE)
def test_a_notebook_asks_for_three_to_five_guesses_each_once_and_before_its_end(number):
    nb = COURSE[number]
    asked = [index for index, cell in enumerate(nb.cells) if answered(cell)]
    assert 3 <= len(asked) <= 5
    assert asked[-1] < rules.section(nb, "What we settled") < len(nb.cells)
    several = list(questions(nb))
    assert [several.count(nb.cells[index]) for index in asked] == [1] * len(asked)


@pytest.fixture
def my(tmp_path, monkeypatch):
    """An empty my/; a shell, so that what is displayed can be looked at."""
    InteractiveShell.instance()
    monkeypatch.setenv("LORAUTILS_MY", str(tmp_path / "my"))
    return tmp_path / "my"


def kept(my) -> dict:
    return json.loads((my / "guesses.json").read_text())


def chooser(place: str):
    """The buttons or the field that a learner uses, and the line below it."""
    line, said = predictions.ask(place).children
    return line.children[0], said


def looked_back(copy: str) -> str:
    with capture_output() as captured:
        predictions.look_back(copy)
    return captured.stdout + "\n".join(output.data["text/markdown"] for output in captured.outputs)


def test_a_guess_is_kept_changed_and_taken_back(my):
    buttons, _ = chooser("00#predict-base")
    assert buttons.value is None and not my.exists()
    buttons.value = "yes"
    field, _ = chooser("00#predict-few-shot")
    field.value = "2.5"
    assert kept(my) == {"00#predict-base": "yes", "00#predict-few-shot": 2.5}
    assert chooser("00#predict-base")[0].value == "yes" and chooser("00#predict-few-shot")[0].value == "2.5"
    buttons.value, field.value = "no cron at all", " "
    assert kept(my) == {"00#predict-base": "no cron at all"}


@pytest.mark.parametrize("typed", ["0,5", "two", "1 000"])
def test_what_is_no_number_is_named_and_changes_nothing(my, typed):
    field, said = chooser("00#predict-few-shot")
    field.value = "3"
    field.value = typed
    assert typed in said.value and "12 or 0.5" in said.value
    assert kept(my) == {"00#predict-few-shot": 3}


def test_a_per_cent_sign_may_follow_a_number(my):
    chooser("01#part-information")[0].value = "90 %"
    assert kept(my) == {"01#part-information": 90}


def test_a_notebook_names_the_cells_that_said_otherwise_and_no_score(my):
    assert looked_back("00_start_here.ipynb") == ""
    chooser("00#lab-weights")[0].value = "0"
    chooser("01#part-algebra")[0].value = "4"  # of another notebook
    assert looked_back("00_start_here.ipynb") == "Your guesses held."
    chooser("00#predict-base")[0].value = "yes"
    assert "Go back to this cell." in looked_back("00_start_here.ipynb")
    chooser("00#six-6")[0].value = "0.01"
    told = looked_back("00_start_here.ipynb")
    assert re.findall(r"\]\((.+?)\)", told) == [
        f"00_start_here.ipynb#cell-id={name}" for name in ("predict-base", "six-6")
    ]
    assert "Go back to these two cells." in told and not re.search(r"\d of \d|%", told)


def test_a_guess_without_a_kernel_says_what_it_is_whatever_was_guessed(my):
    before = repr(predictions.ask("00#predict-base"))
    chooser("00#predict-base")[0].value = "yes"
    assert repr(predictions.ask("00#predict-base")) == before == "(your guess, where this notebook runs)"


def test_a_question_that_the_course_no_longer_asks_is_named(my):
    with pytest.raises(ValueError, match=r"nothing at '00#gone'.+lorautils fresh 00"):
        predictions.ask("00#gone")


def test_a_damaged_file_and_a_choice_that_is_gone_stop_nothing(my):
    my.mkdir()
    (my / "guesses.json").write_text("{")
    chooser("00#six-6")[0].value = "0.001"
    assert kept(my) == {"00#six-6": "0.001"}
    (my / "guesses.json").write_text('{"00#six-6": "1000", "00#lab-weights": "all"}')
    assert chooser("00#six-6")[0].value is None and chooser("00#lab-weights")[0].value == ""
    assert "these two cells" in looked_back("00_start_here.ipynb")


@pytest.mark.parametrize(("guess", "near"), [(4, True), (6, True), (5.5, True), (3.9, False), (6.1, False)])
def test_a_number_holds_between_the_two_that_count_as_near(guess, near):
    assert predictions.held([4, 6], guess) is near


def test_a_question_in_plain_text_keeps_the_stars_of_a_schedule():
    assert (
        plain("Will it answer `30 9 * * 1-5`, *equal* to the last?")
        == "Will it answer 30 9 * * 1-5, equal to the last?"
    )
