"""What every notebook of the course keeps to: one generator a rule, which yields what is wrong and in which cell.

Applied to the notebooks, and to a notebook that breaks each rule, in test_notebooks.py. The notebooks that REWRITTEN
names keep to more: computed verdicts, few booleans, short brackets and paths, drawings, no word before it was shown.
"""

import ast
import base64
import copy
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice, takewhile
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbval.plugin import metadata_tags
from PIL import Image

from lorautils.exercises import Build, registry
from tools.compare_outputs import DECIMAL_OR_INTEGER, value
from tools.glossary import Entry
from tools.notebooks import clean

REWRITTEN: tuple[str, ...] = (
    "00_start_here",
    "01_matrix_rank",
    "02_svd_low_rank_approximation",
    "03_projection_matrices",
    "04_attention_q_k_v_o",
    "05_mlp_gate_up_down",
    "06_lora_from_scratch",
    "07_peft_lora_config",
    "08_peft_lora_run",
    "09_lora_knobs",
    "10_beyond_lora",
    "11_several_adapters",
    "12_laptop_to_cluster",
    "13_where_the_step_goes",
    "14_your_own_data",
    "15_export_and_serve",
)
SHORT = ("00", "06", "08")  # what notebook 00 recommends in a hurry
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
OPENING = ("You will do", "You will learn", "You need")
CLOSING = ("What we settled", "Exercises", "Questions people ask", "Where this goes next", "Sources")
SLIDES = ("slide", "subslide", "fragment", "skip", "notes", "-")
EXCUSED = "nbval-ignore-output"
HOMES = re.compile(r"(/home/|/root/|/Users/|/tmp/|/var/folders/|[A-Z]:\\\\?Users)[^\s\"'<]*")


@cache
def course() -> dict[str, NotebookNode]:
    """Every notebook by its name, read once: to be looked at, not to be changed."""
    return {path.stem: nbformat.read(path, as_version=4) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def markdown(nb: NotebookNode) -> str:
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")


def length(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def is_image(output: NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def texts(cell: NotebookNode) -> Iterator[str]:
    """The texts among a cell's outputs."""
    for output in cell.outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        yield from (text for kind, text in data.items() if kind.startswith("text/"))


def numbers(cell: NotebookNode) -> Iterator[int | float]:
    return (value(number) for text in texts(cell) for number in DECIMAL_OR_INTEGER.findall(text))


def executed_in_order(nb: NotebookNode) -> Iterator[str]:
    for expected, cell in enumerate(code_cells(nb), start=1):
        if not cell.source.strip():
            yield f"{cell.id}: the cell is empty"
        if cell.execution_count != expected:
            yield f"{cell.id}: execution count {cell.execution_count}, expected {expected}: run `make notebooks`"


def no_errors(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"{cell.id}: {output.ename}: {output.evalue}"


def ids(nb: NotebookNode) -> Iterator[str]:
    for cell in nb.cells:
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id) or re.fullmatch(r"[0-9a-f-]{8,}", cell.id):
            yield f"{cell.id}: not lower-case words with hyphens, such as rank-of-noise"
    for cell_id, count in Counter(cell.id for cell in nb.cells).items():
        if count > 1:
            yield f"{cell_id}: {count} cells carry this id"


def clean_metadata(nb: NotebookNode) -> Iterator[str]:
    cleaned = clean(copy.deepcopy(nb))
    if nb.metadata != cleaned.metadata:
        yield f"notebook metadata {dict(nb.metadata)}: run `make notebooks`"
    for cell, expected in zip(nb.cells, cleaned.cells, strict=True):
        if cell != expected:
            yield f"{cell.id}: metadata or widget ids that change from run to run: run `make notebooks`"


def opening(nb: NotebookNode) -> Iterator[str]:
    first = next((i for i, cell in enumerate(nb.cells) if cell.cell_type == "code"), len(nb.cells))
    text = markdown(NotebookNode(cells=nb.cells[:first]))
    if not text.startswith("# "):
        yield "the first cell is not Markdown with a title: '# ...'"
    for words in OPENING:
        if words.lower() not in text.lower():
            yield f"'{words}' is missing before the first code cell"
    for word in ("run", "read"):
        if not re.search(rf"{word}\D{{0,40}}\d|\d\D{{0,40}}{word}", text, re.IGNORECASE) or "minute" not in text:
            yield f"the minutes to {word} are missing before the first code cell"


def closing(nb: NotebookNode) -> Iterator[str]:
    headings = re.findall(r"^#+\s+(.+?)\s*$", markdown(nb), re.MULTILINE)
    found = [heading for heading in headings if heading in CLOSING]
    if found != list(CLOSING):
        yield f"closing headings {found}, expected {list(CLOSING)}"


def exercises(nb: NotebookNode, name: str) -> Iterator[str]:
    asked = registry().get(name, [])
    if not 3 <= len(asked) <= 5:
        yield f"{len(asked)} exercises in lorautils.exercises for '{name}', expected 3 to 5"
    if sum(isinstance(exercise, Build) for exercise in asked) > 1:
        yield f"more than one build in lorautils.exercises for '{name}'"
    code = "\n".join(cell.source for cell in code_cells(nb))
    for exercise in asked:
        if f"{exercise.name}.check(" not in code:
            yield f"exercise {exercise.name}: no cell calls its check()"
    for exercise in (part for entry in asked for part in getattr(entry, "steps", [entry])):
        if not (exercise.hints and exercise.source.strip()):
            yield f"exercise {exercise.name}: no hint or no solution"
        if len({mistake.name for mistake in exercise.mistakes}) < 2:
            yield f"exercise {exercise.name}: fewer than two named wrong answers"


def cell_lengths(nb: NotebookNode) -> Iterator[str]:
    lengths = {cell.id: length(cell) for cell in code_cells(nb)}
    long = {cell_id: lines for cell_id, lines in lengths.items() if lines > 12}
    yield from (f"{cell_id}: {lines} lines, at most 20" for cell_id, lines in long.items() if lines > 20)
    if len(long) > len(lengths) / 10:
        yield f"more than one code cell in ten is longer than 12 lines: {long}"


def prose_share(nb: NotebookNode) -> Iterator[str]:
    share = 1 - len(code_cells(nb)) / len(nb.cells)
    if not 0.4 <= share <= 0.7:
        yield f"{share:.0%} of the cells are prose, expected 40 to 70 %"


def compared(nb: NotebookNode) -> Iterator[str]:
    excused = [cell for cell in code_cells(nb) if EXCUSED in cell.metadata.get("tags", [])]
    if len(excused) >= 0.05 * len(code_cells(nb)) and excused:
        yield f"5 % of the code cells or more are excused from comparison: {[cell.id for cell in excused]}"
    for cell in excused:
        if not re.search(r"^# not compared: \w+", cell.source, re.MULTILINE):
            yield f"{cell.id}: excused from comparison without a comment '# not compared: reason'"
    for cell in code_cells(nb):
        tags = set(cell.metadata.get("tags", [])) & set(metadata_tags) - {EXCUSED}
        if tags or re.search(r"^\s*#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source, re.MULTILINE):
            yield f"{cell.id}: the only way out of the comparison is the tag {EXCUSED}"


def tolerances(nb: NotebookNode) -> Iterator[str]:
    tolerant = [cell for cell in code_cells(nb) if "tolerance" in cell.metadata]
    if len(tolerant) > max(1, len(code_cells(nb)) // 10):
        yield f"more than one code cell in ten has a tolerance of its own: {[cell.id for cell in tolerant]}"
    for cell in tolerant:
        if not re.search(r"^# tolerance: \w+", cell.source, re.MULTILINE):
            yield f"{cell.id}: a tolerance without a comment '# tolerance: why'"
        yield from (f"{cell.id}: tolerance: {fault}" for fault in tolerance_faults(cell))


def tolerance_faults(cell: NotebookNode) -> Iterator[str]:
    tolerance = cell.metadata.tolerance
    if not isinstance(tolerance, dict) or not {"relative", "absolute"} & set(tolerance):
        yield 'neither {"relative": 0.05} nor {"absolute": 4, "of": 40}, nor both'
        return
    if unknown := sorted(set(tolerance) - {"relative", "absolute", "of"}):
        yield f"unknown keys {unknown}"
    relative = tolerance.get("relative", 0.2)
    if not (isinstance(relative, float) and 0 < relative <= 0.2):
        yield f"'relative' is {relative!r}, expected a number above 0, at most 0.2"
    if {"absolute", "of"} & set(tolerance):
        absolute, total = tolerance.get("absolute"), tolerance.get("of")
        if not (type(absolute) is type(total) is int and 0 < absolute <= total / 10):
            yield f"'absolute' is {absolute!r} of {total!r}, expected whole numbers, at most a tenth of the total"
        elif not any(type(number) is int and number == total for number in numbers(cell)):
            yield f"the total {total!r} is no integer in the output: print 'of {total}'"


def plain(text: str) -> str:
    """Markdown without emphasis, marks of quotations and blanks."""
    return re.sub(r"^ *>|[*_`\s]", "", text, flags=re.MULTILINE)


def predictions(nb: NotebookNode) -> Iterator[str]:
    for cell in (cell for cell in nb.cells if "predict" in cell.metadata):
        if cell.cell_type != "markdown":
            yield f"{cell.id}: predict: only a Markdown cell asks"
        yield from (f"{cell.id}: predict: {fault}" for fault in prediction_faults(cell))


def prediction_faults(cell: NotebookNode) -> Iterator[str]:
    asked = cell.metadata.predict
    if not isinstance(asked, dict) or not isinstance(asked.get("question"), str):
        yield 'no question, such as {"question": "How large?", "unit": "nats"}'
        return
    if unknown := sorted(set(asked) - {"question", "choices", "unit", "answer"}):
        yield f"unknown keys {unknown}"
    if not asked.question.endswith(("?", ".")):
        yield f"the question does not end with '?' or '.': {asked.question!r}"
    if plain(asked.question) not in plain(cell.source):
        yield f"the question is not in the cell: {asked.question!r}"
    if {"choices", "unit"} <= set(asked):
        yield "both 'choices' and 'unit'"
    if not is_text(asked.get("unit", "none")):
        yield f"'unit' is {asked.unit!r}, expected a word"
    choices = asked.get("choices", ["yes", "no"])
    if not (isinstance(choices, list) and all(map(is_text, choices)) and 2 <= len(set(choices)) == len(choices) <= 5):
        yield f"'choices' are {choices!r}, expected 2 to 5 different texts"
    elif "answer" in asked and not is_answer(asked):
        yield f"'answer' is {asked.answer!r}, expected one of the choices, or two numbers, [low, high], near it"


def is_answer(asked: NotebookNode) -> bool:
    if "choices" in asked:
        return asked.answer in asked.choices
    near = asked.answer
    return isinstance(near, list) and [type(end) in (int, float) for end in near] == [True, True] and near[0] <= near[1]


def is_text(item: object) -> bool:
    return isinstance(item, str) and bool(item.strip())


def slideshow(nb: NotebookNode) -> Iterator[str]:
    for cell in nb.cells:
        if cell.metadata.get("slideshow", {}).get("slide_type") not in SLIDES:
            yield f"{cell.id}: metadata.slideshow.slide_type is none of {', '.join(SLIDES)}"


def plain_python(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        for line in cell.source.splitlines():
            if re.match(r"\s*[!%]", line):
                yield f"{cell.id}: a magic, which is not Python: {line.strip()}"
            if line.rstrip().endswith(";"):
                yield f"{cell.id}: a trailing ';' does nothing under nbval; write _ = ... or plt.show(): {line.strip()}"


def portable(nb: NotebookNode) -> Iterator[str]:
    for cell in nb.cells:
        texts = [cell.source] + [json.dumps(output) for output in cell.get("outputs", []) if not is_image(output)]
        for text in texts:
            if found := HOMES.search(text):
                yield f"{cell.id}: a path of one machine: {found[0]}"


def alternatives(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        for output in filter(is_image, cell.outputs):
            if not output.metadata.get("image/png", {}).get("alt"):
                yield f"{cell.id}: a figure without a text alternative: call setup() first, then `make notebooks`"


def described(nb: NotebookNode) -> Iterator[str]:
    following = None  # what stands behind a figure, or behind several in a row
    for cell in reversed(nb.cells):
        if cell.cell_type == "code" and any(map(is_image, cell.outputs)):
            if following is None or following.cell_type != "markdown" or len(following.source.split()) < 5:
                yield f"{cell.id}: a figure, and no Markdown cell after it says what to see"
            continue
        following = cell
        if cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=\"[^\"]+\")", cell.source):
            yield f"{cell.id}: an image without a text alternative"


def headings(nb: NotebookNode) -> Iterator[str]:
    level = 0
    for cell in (cell for cell in nb.cells if cell.cell_type == "markdown"):
        for marks, text in re.findall(r"^(#+)\s+(.+?)\s*$", cell.source, re.MULTILINE):
            if len(marks) > level + 1:
                yield f"{cell.id}: the heading '{text}' skips a level, which tables of contents and screen readers need"
            level = len(marks)


def anchors(nb: NotebookNode) -> set[str]:
    """The anchors that JupyterLab gives to headings: their text, with hyphens for spaces."""
    return {
        re.sub(r"[`*]", "", h).replace(" ", "-") for h in re.findall(r"^#+\s+(.+?)\s*$", markdown(nb), re.MULTILINE)
    }


def links(nb: NotebookNode) -> Iterator[str]:
    for cell in (cell for cell in nb.cells if cell.cell_type == "markdown"):
        for target in re.findall(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)", cell.source):
            file, _, anchor = target.partition("#")
            if "://" in target:
                continue
            if file and not (NOTEBOOKS / file).exists():
                yield f"{cell.id}: the link to {file} leads nowhere"
            elif not file and anchor not in anchors(nb):
                yield f"{cell.id}: no heading is called #{anchor}"


RULES = (
    executed_in_order,
    no_errors,
    ids,
    clean_metadata,
    opening,
    closing,
    cell_lengths,
    prose_share,
    compared,
    tolerances,
    predictions,
    slideshow,
    plain_python,
    portable,
    alternatives,
    described,
    headings,
    links,
)


# --- what rewritten notebooks keep to as well ---------------------------------------------------------------------

CORE, WHOLE, APPENDIX = (80, 3300), (120, 4300), (20, 700)  # cells, words of Markdown
BOOLEAN = re.compile(r"(?:(?:^|[\s:])(?:True|False)|: (?:True|False)\))\.?\s*$")
IDENTITY = re.compile(r"\b(same|equals?|identical(ly)?|unchanged|bit for bit|one tensor)\b", re.IGNORECASE)
THRESHOLD = re.compile(r"\b(at least|at most|more than|less than|above|below|between|within)\b")


def verdicts(nb: NotebookNode) -> Iterator[str]:
    """A verdict is computed: what is printed as one comes from `results.verdict`, called in that cell."""
    for cell in code_cells(nb):
        nodes = list(ast.walk(ast.parse(cell.source)))
        strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        called = {ast.unparse(node.func).rpartition(".")[2] for node in nodes if isinstance(node, ast.Call)}
        printed = any(line.startswith("Verdict") for text in texts(cell) for line in text.splitlines())
        if any(text.lstrip().startswith("Verdict") for text in strings):
            yield f"{cell.id}: a verdict that was written beforehand: compute it with results.verdict"
        elif printed and "verdict" not in called:
            yield f"{cell.id}: prints a verdict and does not call results.verdict"


def booleans(nb: NotebookNode) -> Iterator[str]:
    """Numbers are printed, not what they are compared with; that two things are the same has no number."""
    lines = [
        f"{cell.id}: {line.strip()}"
        for cell in code_cells(nb)
        for text in texts(cell)
        for line in text.splitlines()
        if BOOLEAN.search(line) and (THRESHOLD.search(line) or not IDENTITY.search(line))
    ]
    if len(lines) > 5:
        yield f"{len(lines)} lines end in True or False and claim no identity, at most 5; print the numbers: {lines}"


def prose(cell: NotebookNode) -> str:
    """A Markdown cell without listings and links' targets; code, formulas and pictures count as a word."""
    text = re.sub(r"^ *```.*?^ *```|<!--.*?-->", "", cell.source, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]+`|\$\$.+?\$\$|\$[^$\n]+\$|!\[[^\]]*\]\([^)]*\)", "•x", text, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\([^)\s]+\)", r"\1", text)


def bracketed(paragraph: str) -> Iterator[str]:
    """What stands in round brackets, inner ones first."""
    opened = []
    for place, letter in enumerate(paragraph):
        if letter == "(":
            opened.append(place + 1)
        elif letter == ")" and opened:
            yield paragraph[opened.pop() : place]


def brackets(nb: NotebookNode) -> Iterator[str]:
    """No fact of more than eight words stands in round brackets."""
    for cell in (cell for cell in nb.cells if cell.cell_type == "markdown"):
        for paragraph in re.split(r"\n\s*\n", prose(cell)):
            for inside in bracketed(paragraph):
                words = [word for word in inside.split() if re.search(r"\w", word)]
                if len(words) > 8:
                    yield f"{cell.id}: {len(words)} words in brackets, at most 8: ({' '.join(words)})"


def section(nb: NotebookNode, heading: str) -> int:
    """The index of the cell with a heading, or the number of cells if there is none."""
    found = (i for i, cell in enumerate(nb.cells) if re.search(rf"^#+ {heading}\b", cell.source, re.MULTILINE))
    return next(found, len(nb.cells))


def lengths(nb: NotebookNode) -> Iterator[str]:
    """The core path, from the title to What we settled, the whole notebook and its appendix have an end."""
    core = [cell for cell in nb.cells[: section(nb, "What we settled")] if not cell.id.startswith("exercise")]
    appendix = nb.cells[section(nb, "Appendix") :]
    for part, cells, (most, most_words) in (
        ("the core path", core, CORE),
        ("the notebook", nb.cells, WHOLE),
        ("the appendix", appendix, APPENDIX),
    ):
        words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
        if len(cells) > most or words > most_words:
            yield f"{part} has {len(cells)} cells and {words} words, at most {most} and {most_words}"
    if appendix and section(nb, "Appendix") < section(nb, "Sources"):
        yield "the appendix stands before the sources, expected after them"


def is_drawing(output: NotebookNode) -> bool:
    """Whether the kit of lorautils.figures.drawing drew a picture: its ground has round corners, so (0, 0) is clear."""
    picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGBA")
    return picture.getpixel((0, 0))[3] == 0


def drawings(nb: NotebookNode) -> Iterator[str]:
    """At least three figures, one of them a schematic."""
    pictures = [output for cell in code_cells(nb) for output in cell.outputs if is_image(output)]
    if len(pictures) < 3:
        yield f"{len(pictures)} figures, at least 3"
    if not any(map(is_drawing, pictures)):
        yield "no figure is drawn with the kit of lorautils.figures.drawing"


REWRITTEN_RULES = (verdicts, booleans, brackets, lengths, drawings)


# --- no word before it was shown: docs/glossary.md says where each is --------------------------------------------

UNREAD = ("The course", "Where this goes next", "Sources")  # they speak of what comes later
GLOSS = re.compile(r"[*_`]{0,3} \(([^()]+)\)|[*_]{1,3}(?:,|:| is| are| means?) ([^.,;:!?()]+)[.,;:!?()]")


def read(cells: Iterable[NotebookNode]) -> Iterator[tuple[str, str]]:
    """The ids of Markdown cells and their prose, without headings; a link of words counts as "words (notebook 05)"."""
    heading = ""
    for cell in (cell for cell in cells if cell.cell_type == "markdown"):
        heading = (re.findall(r"^#+ +(?:\d+\. )?(.+?) *$", cell.source, re.MULTILINE) or [heading])[-1]
        if heading not in UNREAD:
            text = re.sub(r"\[([^\]]+)\]\((\d\d)_[^)\s]+\)", r"\1 (notebook \2)", cell.source)
            text = re.sub(r"\[([^\]]+)\]\(#[^)\s]+\)", r"\1 (below)", text)
            text = re.sub(
                r"^ *```.*?^ *```|^#[^\n]*|\$\$.+?\$\$|\$[^$\n]+\$", " ", text, flags=re.DOTALL | re.MULTILINE
            )
            yield cell.id, " ".join(text.split())


def is_told(entry: Entry, use: re.Match) -> bool:
    """Whether a word is followed by "(notebook 05)", where it is shown, or by a gloss: "*word*, six words at most,"."""
    if not (found := GLOSS.match(use.string, use.end())):
        return False
    gloss = found[1] or found[2]
    numbers = re.findall(r"\d\d", gloss)
    return entry.notebook in numbers if gloss.startswith("notebook") else len(gloss.split()) <= 6


def is_bold(entry: Entry, text: str) -> bool:
    """Whether a term stands in bold somewhere in a text, as it does where a notebook explains it."""
    return any(text[: use.start()].count("**") % 2 for use in entry.sense.finditer(text))


def untold(cells: Iterable[NotebookNode], entry: Entry, *, bold: bool = False) -> Iterator[str]:
    """The first use of a term in some cells, if neither gloss nor reference follows it, nor bold explains it."""
    uses = ((cell_id, use) for cell_id, text in read(cells) if (use := entry.sense.search(text)))
    for cell_id, use in islice(uses, 1):
        if not is_told(entry, use) and not (bold and is_bold(entry, use.string)):
            remedy = f"'*{use[0]}*, at most six words,' or '{use[0]} (notebook {entry.notebook})'"
            yield f"{cell_id}: {use[0]!r} is shown in notebook {entry.notebook}, cell {entry.cell}: write {remedy}"


def early_words(name: str, course: Mapping[str, NotebookNode], glossary: Iterable[Entry]) -> Iterator[str]:
    """No notebook uses a term before the cell that shows it, unless its first use there is glossed or refers."""
    for entry in glossary:
        if entry.notebook >= name[:2]:
            end = entry.cell if entry.notebook == name[:2] else ""
            yield from untold(takewhile(lambda cell, end=end: cell.id != end, course[name].cells[1:]), entry)


def skipped_words(name: str, course: Mapping[str, NotebookNode], glossary: Iterable[Entry]) -> Iterator[str]:
    """On the short path, what the notebooks left out show is glossed, referred to or explained at its first use."""
    before = [nb.cells[1:] for other, nb in course.items() if other[:2] in SHORT and other < name]
    for entry in glossary:
        known = any(entry.sense.search(text) for cells in before for _, text in read(cells))
        if name[:2] in SHORT and entry.notebook not in SHORT and not known:
            yield from untold(course[name].cells[1:], entry, bold=True)


WORD_RULES = (early_words, skipped_words)
