"""The exercises of notebook 07: the scaling, a fused matrix, the matching rule, patterns, entries that match nothing.

s = alpha / r, or alpha / sqrt(r) with rsLoRA; a list entry matches a path that equals it or ends in "." + entry.
"""

import math
import re

from .engine import Exercise, Mistake

NOTEBOOK = "07_peft_lora_config"

rslora_scaling = Exercise(
    name="rslora_scaling",
    question="With which number is B A multiplied for r=16, lora_alpha=32, use_rslora=True?",
    difficulty=1,
    minutes=2,
    hints=(
        "Without rsLoRA it is alpha / r. Section 7 prints both for some r.",
        "rsLoRA divides by the square root of r.",
    ),
    source="answer = 32 / 16**0.5  # alpha / sqrt(r)",
    takeaway="Without rsLoRA it would be 2: switching it on is a step of the learning rate, too.",
    mistakes=(
        Mistake("without rsLoRA", 2.0, "that is alpha / r. With use_rslora=True the divisor is another one."),
        Mistake("alpha alone", 32.0, "alpha never reaches the model undivided. By what is it divided?"),
        Mistake("root of the quotient", math.sqrt(2), "that is sqrt(alpha / r). Only r is under the root."),
        Mistake("upside down", 0.5, "that is r / alpha. A larger alpha makes the update larger."),
        Mistake("multiplied by r", 512.0, "that is alpha * r. r belongs under the fraction bar, as its square root."),
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


def _by_rule(in_list, in_string=lambda target, path: re.fullmatch(target, path) is not None):
    """A matching rule, made of the rule for one entry of a list and the rule for a string."""
    return lambda targets, path: (
        in_string(targets, path) if isinstance(targets, str) else any(in_list(target, path) for target in targets)
    )


def _right(target, path):
    return path == target or path.endswith(f".{target}")


_Q = "model.layers.0.self_attn.q_proj"

is_targeted = Exercise(
    name="is_targeted",
    question="Write is_targeted(targets, path): True if the list or the regular expression wraps the module.",
    difficulty=2,
    minutes=8,
    hints=(
        "Two cases: isinstance(targets, str), or a list.",
        "A string: re.fullmatch, the whole path. A list: any entry that equals the path or that it ends in.",
        'Whole parts only: path.endswith("." + entry). And return True or False, not a match object.',
    ),
    source="""import re


def is_targeted(targets, path):
    if isinstance(targets, str):
        return re.fullmatch(targets, path) is not None
    return any(path == entry or path.endswith("." + entry) for entry in targets)""",
    takeaway="PEFT calls it check_target_module_exists, in tuners_utils.py: these lines, and the layer numbers.",
    mistakes=(
        Mistake(
            "anywhere in the path",
            _by_rule(lambda target, path: target in path),
            'an entry must stand at the end: ["layers.0"] wraps nothing.',
        ),
        Mistake(
            "half a name",
            _by_rule(lambda target, path: path.endswith(target)),
            'whole parts of the path only: ["proj"] wraps nothing. Put the dot in front.',
        ),
        Mistake(
            "last part only",
            _by_rule(lambda target, path: path.rpartition(".")[2] == target),
            'an entry may hold several parts: ["self_attn.q_proj"] is allowed.',
        ),
        Mistake(
            "whole path forgotten",
            _by_rule(lambda target, path: path.endswith(f".{target}")),
            '"lm_head" has no dot in front of it: an entry may also be the whole path.',
        ),
        Mistake(
            "search instead of fullmatch",
            _by_rule(_right, lambda target, path: re.search(target, path) is not None),
            'a string must match the whole path: "q_proj" wraps nothing, ".*q_proj" does.',
        ),
        Mistake(
            "match instead of fullmatch",
            _by_rule(_right, lambda target, path: re.match(target, path) is not None),
            "re.match looks at the beginning only. The expression must reach the end of the path.",
        ),
        Mistake(
            "a list of expressions",
            _by_rule(lambda target, path: re.fullmatch(target, path) is not None),
            'only a string is an expression. In a list names stand literally: ["q_proj"] wraps, [".*q_proj"] does not.',
        ),
        Mistake(
            "a string taken as a name",
            _by_rule(_right, _right),
            'a string is a regular expression, not a list of one: "q_proj" wraps nothing, ".*q_proj" does.',
        ),
    ),
    cases=(
        (["v_proj", "q_proj"], _Q),
        (["k_proj"], _Q),
        (["proj"], _Q),
        (["layers.0"], _Q),
        (["self_attn.q_proj"], _Q),
        (["lm_head"], "lm_head"),
        ([".*q_proj"], _Q),
        ("q_proj", _Q),
        (".*q_proj", _Q),
        (r"model\.layers\.0", _Q),
    ),
)

module_scaling = Exercise(
    name="module_scaling",
    question="Write module_scaling(name, r, alpha, rank_pattern, alpha_pattern, use_rslora): one module's scaling.",
    difficulty=2,
    minutes=8,
    hints=(
        "rank_pattern.get(name, r) is the module's own r where the pattern names it, and r elsewhere.",
        "The same for alpha. Then alpha / r, or alpha / sqrt(r).",
    ),
    source="""import math


def module_scaling(name, r, alpha, rank_pattern, alpha_pattern, use_rslora):
    r = rank_pattern.get(name, r)
    alpha = alpha_pattern.get(name, alpha)
    return alpha / (math.sqrt(r) if use_rslora else r)""",
    takeaway="A rank_pattern without an alpha_pattern changes the scaling as well as the rank.",
    mistakes=(
        Mistake(
            "patterns ignored",
            lambda name, r, alpha, ranks, alphas, rs: alpha / (math.sqrt(r) if rs else r),
            "that is the scaling of a module that no pattern names.",
        ),
        Mistake(
            "rank_pattern only sets the rank",
            lambda name, r, alpha, ranks, alphas, rs: alphas.get(name, alpha) / (math.sqrt(r) if rs else r),
            "alpha is divided by the module's own r, not by the configuration's.",
        ),
        Mistake(
            "alpha_pattern forgotten",
            lambda name, r, alpha, ranks, alphas, rs: (
                alpha / (math.sqrt(ranks.get(name, r)) if rs else ranks.get(name, r))
            ),
            "the module may have an alpha of its own.",
        ),
        Mistake(
            "rsLoRA forgotten",
            lambda name, r, alpha, ranks, alphas, rs: alphas.get(name, alpha) / ranks.get(name, r),
            "with use_rslora the divisor is sqrt(r).",
        ),
        Mistake(
            "root of the quotient",
            lambda name, r, alpha, ranks, alphas, rs: (
                (alphas.get(name, alpha) / ranks.get(name, r)) ** (0.5 if rs else 1)
            ),
            "with use_rslora only r is under the root: alpha / sqrt(r).",
        ),
    ),
    cases=(
        ("v_proj", 8, 16, {}, {}, False),
        ("q_proj", 8, 16, {"q_proj": 32}, {}, False),
        ("q_proj", 8, 16, {"q_proj": 32}, {"q_proj": 64}, False),
        ("v_proj", 8, 16, {"q_proj": 32}, {"v_proj": 4}, False),
        ("q_proj", 4, 16, {"q_proj": 64}, {}, True),
    ),
)

_PATHS = [
    f"model.layers.{i}.{name}" for i in (0, 1) for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
]

silent_entries = Exercise(
    name="silent_entries",
    question="Write silent_entries(targets, paths): the entries that match none of the paths, in their order.",
    difficulty=3,
    minutes=8,
    hints=(
        "For each entry: is there any path that equals it, or ends in a dot and the entry?",
        "[entry for entry in targets if not any(... for path in paths)]",
    ),
    source="""def silent_entries(targets, paths):
    def found(entry):
        return any(path == entry or path.endswith("." + entry) for path in paths)

    return [entry for entry in targets if not found(entry)]""",
    takeaway="Three lines, and the most common silent failure is loud.",
    mistakes=(
        Mistake(
            "the other way round",
            lambda targets, paths: [t for t in targets if any(_right(t, p) for p in paths)],
            "those are the entries that match something. The others are wanted.",
        ),
        Mistake(
            "all instead of any",
            lambda targets, paths: [t for t in targets if not all(_right(t, p) for p in paths)],
            "an entry need not match every path. One is enough for it to be heard.",
        ),
        Mistake(
            "half a name",
            lambda targets, paths: [t for t in targets if not any(p.endswith(t) for p in paths)],
            '"proj" matches nothing, though every path ends in it: whole parts only.',
        ),
        Mistake(
            "anywhere in the path",
            lambda targets, paths: [t for t in targets if not any(t in p for p in paths)],
            '"layers.0" stands in the paths and at the end of none: it wraps nothing.',
        ),
        Mistake(
            "last part only",
            lambda targets, paths: [t for t in targets if t not in {p.rpartition(".")[2] for p in paths}],
            '"self_attn.v_proj" does match: an entry may hold several parts of the path.',
        ),
        Mistake(
            "the whole path only",
            lambda targets, paths: [t for t in targets if t not in paths],
            "an entry need not be a whole path: the end of one, after a dot, is enough.",
        ),
        Mistake(
            "only the first",
            lambda targets, paths: [t for t in targets if not any(_right(t, p) for p in paths)][:1],
            "more than one entry may match nothing: return all of them.",
        ),
        Mistake(
            "sorted",
            lambda targets, paths: sorted(t for t in targets if not any(_right(t, p) for p in paths)),
            "those are the entries. Leave them in the order of targets.",
        ),
        Mistake(
            "paths instead of entries",
            lambda targets, paths: [p for p in paths if not any(_right(t, p) for t in targets)],
            "those are the modules that are not wrapped. The unmatched *entries* are wanted.",
        ),
    ),
    cases=(
        (["q_proj", "v_prj"], _PATHS),
        (["q_proj", "proj"], _PATHS),
        (["layers.0", "up_proj"], _PATHS),
        (["self_attn.v_proj", "down_proj"], _PATHS),
        (["lm_head"], ["lm_head", *_PATHS]),
        (["v_prj", "q_proj", "kproj", "gate"], _PATHS),
    ),
)
