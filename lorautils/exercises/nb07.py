"""The exercises of notebook 07: an alpha, a fused matrix, a spelling of the targets, a diagnosis, what a file lacks.

s = alpha / r, or alpha / sqrt(r) with rsLoRA; a list entry matches a path that equals it or ends in "." + entry.
"""

import math
import re
from dataclasses import dataclass

from .engine import Exercise, Mistake, has_blank, in_words, kind, plain

NOTEBOOK = "07_peft_lora_config"

alpha_kept = Exercise(
    name="alpha_kept",
    question="r=8, lora_alpha=48 becomes r=16, use_rslora=True. Which alpha keeps the number before B A?",
    difficulty=1,
    minutes=3,
    hints=(
        "First the number as it was: alpha / r = 48 / 8.",
        "With rsLoRA it is alpha / sqrt(r). Which alpha gives 6 with r = 16?",
    ),
    source="answer = 48 / 8 * 16**0.5  # 6 = alpha / sqrt(16)",
    takeaway="Half of the alpha, at twice the r: rsLoRA divides by less.",
    mistakes=(
        Mistake("without rsLoRA", 96.0, "that keeps alpha / r. With use_rslora=True the divisor is sqrt(r)."),
        Mistake("left alone", 48.0, "then the number goes from 48 / 8 = 6 to 48 / sqrt(16) = 12."),
        Mistake("the number itself", 6.0, "that is the number before B A. Which alpha gives it with r = 16?"),
        Mistake(
            "root of both", 48 * math.sqrt(2), "the first run had no rsLoRA: its number is 48 / 8, without a root."
        ),
    ),
)

fused_count = Exercise(
    name="fused_count",
    question="How many numbers does LoRA with r = 8 train on one c_attn of GPT-2, hidden size 768: q, k and v at once?",
    difficulty=1,
    minutes=4,
    hints=(
        "c_attn maps 768 numbers to q, k and v of 768 numbers each. What are its in and out?",
        "in = 768, out = 3 * 768. A is (r, in), B is (out, r).",
    ),
    source="answer = 8 * (768 + 3 * 768)  # A is (8, 768), shared by q, k and v; B is (2304, 8)",
    takeaway="Three separate matrices would cost 36,864: a fused one saves two A's, and q, k and v share what A reads.",
    mistakes=(
        Mistake(
            "three adapters",
            3 * 8 * (768 + 768),
            "that is LoRA on three separate matrices. A fused matrix gets one A, which q, k and v share.",
        ),
        Mistake("only one of the three", 8 * (768 + 768), "that is one of q, k and v. c_attn has 3 * 768 outputs."),
        Mistake("the whole matrix", 768 * 2304, "that is c_attn itself, which stays frozen."),
        Mistake("sides multiplied", 8 * 768 * 2304, "add the sizes of A and B; r * in * out is more than the matrix."),
        Mistake("only B", 8 * 2304, "that is B, (2304, 8). A, (8, 768), trains too."),
        Mistake("only A", 8 * 768, "that is A, (8, 768). B, (2304, 8), trains too."),
    ),
)


def _wraps(targets, path):
    """PEFT's rule for one path: a string must match all of it, an entry of a list its end in whole parts."""
    if isinstance(targets, str):
        return (targets == "all-linear" and path != "lm_head") or re.fullmatch(targets, path) is not None
    return any(path == entry or path.endswith(f".{entry}") for entry in targets)


_PARTS = [*(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down"))]
_PATHS = [*(f"model.layers.{i}.{part}" for i in range(30) for part in _PARTS), "lm_head"]


@dataclass(eq=False, repr=False)
class Spelling(Exercise):
    """A question whose answer is a value of target_modules: two of them are equal if they wrap the same modules."""

    def _verdict(self, answer):
        names = [answer] if isinstance(answer, str) else plain(answer)
        readable = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not (answer is ... or has_blank(answer) or readable):
            return f"Not yet: expected {self._wanted()}, got {kind(names)}. Stuck? Try hint()."
        try:
            return super()._verdict(answer)
        except re.error as error:
            return f"Not yet: expected {self._wanted()}; {in_words(error)}."

    def _observe(self, answer):
        return [path for path in _PATHS if _wraps(answer, path)]

    def _told(self, answer):
        """How many modules it wraps, and one that it wraps or leaves out by mistake."""
        found, wanted = self._observe(answer), self._observe(self.reference)
        extra = [path for path in found if path not in wanted]
        missing = [path for path in wanted if path not in found]
        one = f"also {extra[0]}" if extra else f"but not {missing[0]}"
        return f"it wraps {len(found)}, {one}; expected are {len(wanted)} modules"

    def _wanted(self):
        return "a list of names, or a string that is a valid regular expression"


spelling = Spelling(
    name="spelling",
    question="Which target_modules wraps exactly gate_proj and up_proj of the layers 20 to 29 of 30?",
    difficulty=2,
    minutes=8,
    hints=(
        "A string can say it in one line. It must match the whole path, such as model.layers.20.mlp.gate_proj.",
        r"Two digits, the first of them 2: layers\.2\d\. And one of two names: (gate|up)_proj.",
        "A list works, too: whole parts up to the end, such as layers.20.mlp.gate_proj. It has twenty entries.",
    ),
    source=r'answer = r".*\.layers\.2\d\.mlp\.(gate|up)_proj"',
    takeaway="One line, or a list of twenty: PEFT stores what you give it, and a reader has to understand it.",
    mistakes=(
        Mistake("every layer", ["gate_proj", "up_proj"], "that wraps both in all thirty layers."),
        Mistake(
            "layer 2, too",
            r".*\.2.*(gate|up)_proj",
            "the expression also matches layer 2. Say how many digits the number has.",
        ),
        Mistake(
            "matches nothing",
            r"layers\.2\d\.mlp\.(gate|up)_proj",
            "it wraps nothing. A string must match the whole path; an entry of a list is no expression, and needs "
            "whole parts of the path, up to its end.",
        ),
        Mistake("down as well", r".*\.2\d\.mlp\..*", "that wraps down_proj, too."),
        Mistake("nineteen to twenty-eight", r".*\.(19|2[0-8])\.mlp\.(gate|up)_proj", "the last layer is number 29."),
        Mistake(
            "a range in square brackets",
            r".*\.[20-29]\.mlp\.(gate|up)_proj",
            "square brackets stand for one character: [20-29] is 0, 1, 2 or 9.",
        ),
        Mistake("one of two names", r".*\.2\d\.mlp\.gate_proj", "up_proj is missing."),
    ),
)

diagnose = Exercise(
    name="diagnose",
    question="Five reports, five causes: which letter belongs to which report?",
    difficulty=2,
    minutes=8,
    hints=(
        "A learning rate of zero moves nothing at all. In report 1 something moved.",
        "Report 3 says that every B is zero; report 5 says that the file and the model disagree.",
        "r does not decide how large a file is when something is saved whole.",
    ),
    source='answer = ["b", "d", "a", "e", "c"]',
    takeaway="None of the five raised an error. One line of an audit told each of them.",
    mistakes=(
        Mistake(
            "a rate of zero",
            ["f", "d", "a", "e", "c"],
            "with a learning rate of zero the head would not have moved either. A and B were left frozen.",
        ),
        Mistake(
            "1 and 3 changed",
            ["a", "d", "b", "e", "c"],
            "a fresh wrap trains, and its B moves in the first step. A loaded adapter has been trained: its B is not "
            "zero. So report 1 is the load, and report 3 the fresh wrap.",
        ),
        Mistake(
            "2 and 5 changed",
            ["b", "c", "a", "e", "d"],
            "a second wrap puts other names into the file than into the configuration. Fused matrices only make names "
            "match nothing.",
        ),
        Mistake(
            "3 and 5 changed",
            ["b", "d", "c", "e", "a"],
            "a fresh wrap has no file to disagree with. In report 5 both names are in the file.",
        ),
    ),
)


def _lost(trained, saved, adapter):
    """The names that train and are not in the file."""
    return [
        name for name in trained if name.replace(f".{adapter}.", ".").replace(".modules_to_save.", ".") not in saved
    ]


_Q = "layers.0.q_proj"
_HEAD = "score"
_AB = [f"{_Q}.lora_A.default.weight", f"{_Q}.lora_B.default.weight"]
_SAVED = [f"{_Q}.lora_A.weight", f"{_Q}.lora_B.weight"]

lost = Exercise(
    name="lost",
    question="Write lost(trained, saved, adapter): the trained names that will not come back, in their order.",
    difficulty=3,
    minutes=10,
    hints=(
        "Turn each name in the model into the name that it would have in the file. Is that name there?",
        "The file leaves out two parts: the adapter's name, and modules_to_save.",
        'Whole parts only: name.replace(f".{adapter}.", "."). An adapter may be called "a".',
    ),
    source="""def lost(trained, saved, adapter):
    def in_file(name):
        return name.replace(f".{adapter}.", ".").replace(".modules_to_save.", ".")

    return [name for name in trained if in_file(name) not in saved]""",
    takeaway="This is what the audit says as 'train and are not saved', and it works for any file.",
    mistakes=(
        Mistake(
            "names as they are",
            lambda trained, saved, adapter: [name for name in trained if name not in saved],
            "in the file the names lack the adapter's name, so nothing is ever found.",
        ),
        Mistake(
            "modules_to_save forgotten",
            lambda trained, saved, adapter: [n for n in trained if n.replace(f".{adapter}.", ".") not in saved],
            "a head that PEFT saves has modules_to_save in its name, and the file has not.",
        ),
        Mistake(
            "half a name",
            lambda trained, saved, adapter: [
                n for n in trained if n.replace(f"{adapter}.", "").replace("modules_to_save.", "") not in saved
            ],
            "whole parts only: an adapter called 'a' must not touch the end of another part. Put the dots in.",
        ),
        Mistake(
            "one dot",
            lambda trained, saved, adapter: [
                n for n in trained if n.replace(f".{adapter}", "").replace(".modules_to_save", "") not in saved
            ],
            "whole parts only: an adapter called 'a' must not touch the beginning of `.attn`. A dot on each side.",
        ),
        Mistake(
            "always default",
            lambda trained, saved, adapter: _lost(trained, saved, "default"),
            "the adapter has the name that it was given, not always 'default'.",
        ),
        Mistake(
            "the other way round",
            lambda trained, saved, adapter: [
                n for n in saved if n not in {t.replace(f".{adapter}.", ".") for t in trained}
            ],
            "those are names of the file that train nowhere. The trained names that are not in the file are wanted.",
        ),
        Mistake(
            "only LoRA",
            lambda trained, saved, adapter: [n for n in _lost(trained, saved, adapter) if "lora" in n],
            "a head that trains and is not saved is lost, too.",
        ),
        Mistake(
            "those that come back",
            lambda trained, saved, adapter: [n for n in trained if n not in _lost(trained, saved, adapter)],
            "those are the names that do come back.",
        ),
    ),
    cases=(
        (_AB, _SAVED, "default"),
        ([f"{_HEAD}.weight", *_AB], _SAVED, "default"),
        ([f"{_HEAD}.modules_to_save.default.weight", *_AB], [f"{_HEAD}.weight", *_SAVED], "default"),
        ([name.replace("default", "a") for name in _AB], _SAVED, "a"),
        ([f"{_Q}.lora_A.a.weight", "schema.weight"], [f"{_Q}.lora_A.weight"], "a"),
        (["beta.lora_A.a.weight"], ["beta.lora_A.weight"], "a"),
        (["h.0.attn.lora_A.a.weight"], ["h.0.attn.lora_A.weight"], "a"),
        (_AB, [_SAVED[0], f"{_HEAD}.weight"], "default"),
    ),
)
