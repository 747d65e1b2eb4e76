"""What a learner expects before a run: `ask` shows buttons or a field, `look_back` names the cells that said otherwise.

`lorautils fresh` writes the two calls into the working copies; no notebook teaches them. A guess stays on this machine,
in my/guesses.json, and nothing counts them. The questions are the notebooks' own: `predict` in their cells' metadata.
"""

import html
import json

import ipywidgets
from IPython.display import Markdown, display

from lorautils import ROOT, my_folder

LEAD = "Your guess"


class _Asked(ipywidgets.VBox):
    """A question with its buttons or its field; as text it says what it is, whatever was guessed."""

    def __repr__(self) -> str:
        return "(your guess, where this notebook runs)"


def ask(place: str) -> ipywidgets.VBox:
    """Return buttons, or a field for a number, with which a learner answers the question of a cell, "00#predict-base".

    What is guessed is kept at once. ValueError where the notebook has no such question.
    """
    asked = _questions(place[:2]).get(place)
    if asked is None:
        raise ValueError(
            f"the course asks nothing at {place!r} any more: `lorautils fresh {place[:2]}` gives a new copy"
        )
    said = ipywidgets.HTML()
    said.add_class("jp-RenderedHTMLCommon")
    chooser = _buttons(asked, _kept().get(place)) if "choices" in asked else _field(asked, _kept().get(place))

    def guessed(change: dict) -> None:
        try:
            _keep(place, change["new"] if "choices" in asked else number(change["new"]))
            said.value = "Kept in my/guesses.json. Go on whenever you like."
        except ValueError as error:
            said.value = html.escape(str(error))

    chooser.observe(guessed, names="value")
    unit = [ipywidgets.Label(asked["unit"])] if "unit" in asked else []
    return _Asked([ipywidgets.HBox([chooser, *unit]), said])


def _buttons(asked: dict, kept: str | None) -> ipywidgets.ToggleButtons:
    chosen = kept if kept in asked["choices"] else None  # a newer course may have other choices
    return ipywidgets.ToggleButtons(
        options=asked["choices"], value=chosen, description=LEAD, style={"button_width": "auto"}
    )


def _field(asked: dict, kept: str | float | None) -> ipywidgets.Text:
    typed = f"{kept:g}" if isinstance(kept, int | float) else ""  # a newer course may ask for a number
    return ipywidgets.Text(value=typed, description=LEAD, placeholder="a number", continuous_update=False)


def number(text: str) -> float | None:
    """Return the number that a learner typed, None for nothing; ValueError for anything else."""
    try:
        return float(text.strip(" %")) if text.strip() else None
    except ValueError:
        raise ValueError(f"{text!r} is no number. Write it like 12 or 0.5.") from None


def look_back(copy: str) -> None:
    """Show at which questions of a notebook the run said otherwise than the guess; nothing where none was guessed."""
    kept = _kept()
    guessed = {place: asked for place, asked in _questions(copy[:2]).items() if place in kept}
    otherwise = [
        f"[{asked['question']}]({copy}#cell-id={place.partition('#')[2]})"
        for place, asked in guessed.items()
        if not held(asked["answer"], kept[place])
    ]
    if guessed:
        display(Markdown(told(otherwise)))


def held(answer: str | list[float], guess: str | float) -> bool:
    """Return whether a guess is the choice that held, or lies between the two numbers that count as near."""
    if isinstance(answer, str):
        return guess == answer
    return isinstance(guess, int | float) and answer[0] <= guess <= answer[1]


def told(otherwise: list[str]) -> str:
    """Return the sentence of the end of a notebook. It names cells and no score."""
    if not otherwise:
        return "Your guesses held."
    cells = (
        "this cell" if len(otherwise) == 1 else f"these {('two', 'three', 'four', 'five')[len(otherwise) - 2]} cells"
    )
    return "You expected otherwise at\n\n" + "\n".join(f"- {link}" for link in otherwise) + f"\n\nGo back to {cells}."


def _questions(number: str) -> dict[str, dict]:
    """Return the questions of a notebook that have an answer, by place, such as "00#predict-base"."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    asked = {f"{number}#{cell['id']}": cell["metadata"].get("predict", {}) for cell in cells}
    return {place: question for place, question in asked.items() if "answer" in question}


def _kept() -> dict[str, str | float]:
    try:
        return json.loads((my_folder() / "guesses.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none yet, or a file that is no JSON any more
        return {}


def _keep(place: str, guess: str | float | None) -> None:
    """Write one guess into the file, or take it out."""
    kept = _kept() | {place: guess}
    text = json.dumps({place: guess for place, guess in kept.items() if guess is not None}, indent=1)
    path = my_folder() / "guesses.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(path)
