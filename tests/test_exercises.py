"""The checkers: a blank, the right answer, each known mistake, any data; test_hands.py has the rest."""

import copy
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lorautils.exercises as exercises
from lorautils.exercises import Exercise, Mistake, ____, nb07, registry

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
EXERCISES = [entry for entries in registry().values() for entry in entries if isinstance(entry, Exercise)]
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


def said(capsys, exercise, answer):
    assert exercise.check(answer) is None
    return capsys.readouterr().out


def two_lines(*args):
    raise ValueError("two.\nlines")


# --- the blank --------------------------------------------------------------------------------------------------


def test_the_blank_survives_import_star():
    namespace = {}
    exec("from lorautils.exercises import *", namespace)
    assert namespace["____"] is ____


BLANK_USES = """
____ + 1; 1 - ____; 2 ** ____; -____; abs(____); round(____, 2); ____ @ torch.ones(2); torch.ones(2) @ ____; ~____
torch.ones(3) * ____; np.ones(3) * ____; np.log(____); torch.nn.functional.relu(____); [1, 2][____]; torch.ones(3)[____]
____[0]; ____[1:, None]; ____.shape; ____.weight.T.sum(0); ____(1, key=2); ____ < 3; ____ == 3; ____ != 3; 3 in ____
len(____); list(____); range(____); math.log(____); f"{____:.2f} {____!r}"; str(____); {____: 1}; copy.deepcopy(____)
""".replace("\n", ";").split(";")


def test_the_blank_can_be_used_anywhere():
    for code in filter(None, map(str.strip, BLANK_USES)):
        eval(code, {"____": ____, "torch": torch, "np": np, "math": __import__("math"), "copy": copy})
    x = ____
    x += 1
    ____[0] = 1
    with ____ as y:
        pass
    while ____:
        raise AssertionError("a loop over a blank must end")
    assert x is ____ and y is ____


UNTOUCHED = [..., ____, ____ * 2 + 1, ____[0].T, torch.ones(2) @ ____, np.ones(2) * ____, (1, ____), [[____]]]
BODIES = ["____", "return ____", "...", "pass", "return [____]", "return (1, ____)", "x = ____ + 1; return x"]


@each_exercise
def test_a_blank_is_still_to_do(capsys, exercise):
    for answer in UNTOUCHED:
        assert said(capsys, exercise, answer).startswith("Still to do: replace ____ ")
    parameters = ", ".join(inspect.signature(exercise.reference).parameters) if exercise.cases else ""
    for body in BODIES if exercise.cases else ():
        namespace = {"____": ____}
        exec(f"def {exercise.name}({parameters}): {body}", namespace)
        told = said(capsys, exercise, namespace[exercise.name])
        assert told.startswith("Still to do: the function returns ____ or None"), body


def test_none_in_some_cases_is_an_answer_not_a_blank(capsys):
    def lost(trained, saved, adapter):
        names = [name.replace(f".{adapter}.", ".").replace(".modules_to_save.", ".") for name in trained]
        return [name for name, there in zip(trained, names, strict=True) if there not in saved] or None

    text = said(capsys, nb07.lost, lost)
    assert text.startswith("Not yet: lost(") and "None" in text


def test_a_dictionary_is_shown_by_its_entries():
    assert exercises.engine.show({"q_proj": 32, "up_proj": [0.5, None]}) == "{'q_proj': 32, 'up_proj': [0.5, None]}"
    assert len(exercises.engine.show({f"layer {i}": i for i in range(40)})) == 72


# --- right and wrong ----------------------------------------------------------------------------------------------


@each_exercise
def test_the_printed_solution_is_right(capsys, exercise):
    exercise.solution()
    namespace = {}
    exec(capsys.readouterr().out, namespace)
    verdict = said(capsys, exercise, namespace[exercise.name if exercise.cases else "answer"])
    assert verdict == f"\x1b[32mCorrect.\x1b[0m {exercise.takeaway}\n"


@each_exercise
def test_a_known_mistake_is_named(capsys, exercise):
    for mistake in exercise.mistakes:
        assert said(capsys, exercise, mistake.answer) == f"Not yet ({mistake.name}): {mistake.message}\n"


WEIGHT_SHAPE = Exercise("weight_shape", "Which shape has the weight?", 1, 2, (), "", (), source="answer = (1536, 576)")


def by_name(name):
    return next(exercise for exercise in [WEIGHT_SHAPE, *EXERCISES] if exercise.name == name)


def moved_by_copy(tensors, step):
    before = copy.deepcopy(tensors)
    step(tensors)
    return tuple(i for i in range(len(tensors)) if (before[i] != tensors[i]).any())


def in_rising_order(gate, up, down, kept):
    kept = sorted(kept)
    return gate[kept], up[kept], down[:, kept]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("weight_shape", [1536, 576]),
        ("weight_shape", torch.nn.Linear(576, 1536).weight.shape),
        ("weight_shape", np.array([1536, 576])),
        ("answer_probability", 0.4493),
        ("answer_probability", torch.tensor(-0.8).exp()),
        ("answer_probability", torch.tensor(0.4493, requires_grad=True)),
        ("answer_probability", np.exp(-0.8)),
        ("count_trainable", 921600.0),
        ("count_trainable", torch.tensor(921600)),
        ("answer_loss", lambda logits, ids, n: torch.nn.CrossEntropyLoss()(logits[n - 1 : len(ids) - 1], ids[n:])),
        ("answer_loss", lambda logits, ids, n: -logits.log_softmax(-1)[range(n - 1, len(ids) - 1), ids[n:]].mean()),
        ("moved", moved_by_copy),
        ("rank_at_gap", lambda values: (values[:-1] / values[1:]).argmax() + 1),
        ("rank_at_gap", lambda values: max(range(1, len(values)), key=lambda i: values[i - 1] / values[i])),
        ("keep_the_stop", lambda ids, n, eos: torch.tensor([*ids, *[-100] * (n - len(ids))])),
        ("without_direction", lambda W, d: torch.addr(W, d, d @ W, alpha=-1 / (d @ d).item())),
        ("without_direction", lambda W, d: (W.double() - torch.outer(d, d @ W).double() / (d @ d)).numpy()),
    ],
)
def test_right_in_another_form_is_right(capsys, name, answer):
    assert "Correct." in said(capsys, by_name(name), answer)


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("count_trainable", 921601, "Not yet: 921601 is not it. Stuck? Try hint()."),
        ("count_trainable", True, "expected a number, got True"),
        (
            "count_trainable",
            [921600],
            "the values are right, the shape is not: expected a number, got 1 value",
        ),
        ("weight_shape", torch.tensor([[1536], [576]]), "the values are right, the shape is not"),
        ("weight_shape", (1536, 576, 1), "expected 2 values, got 3 values"),
        ("answer_probability", "0.45", "expected a number, got something of type str"),
        ("answer_probability", 0.45, "0.45 is near: write the formula"),
        ("truncation_error", (2, 2.2), "[2, 2.2] is near: write the formula"),
        ("alpha_and_rate", [0.00025, 0.0019], "[0.00025, 0.0019] is near: write the formula"),
        ("kv_cache_bytes", 1.1e9, "1.1e+09 is not it"),
        ("diagnose", ["b left out", "Not fresh", "healthy ", "both zero"], "the words are right, their spelling"),
        ("cut_adapter", lambda B, A, k: (B[:, :k], A[:k]), "should give values of shape (4, 5), got 2 values"),
        ("keep_features", in_rising_order, "should give [[[-1, 0.5], [1, 0]]"),
        ("answer_probability", float("nan"), "perhaps a ____ is left in the formula"),
        ("answer_probability", abs, "expected a number, got a function"),
        ("keep_the_stop", [-100, 5], "pass the function itself, check(keep_the_stop), not 2 values"),
        ("who_answers", ["0", "0", "1", "base", "0"], "the values are right, but numbers have no quotes"),
        ("spelling", ["29.mlp.up_proj"], "it wraps 1, but not model.layers.20.mlp.gate_proj; expected are 20 modules"),
        ("spelling", r".*(2\d", "missing ), unterminated subpattern at position 2."),
        ("spelling", "all-linear", "it wraps 210, also model.layers.0.self_attn.q_proj; expected are 20 modules"),
        ("what_moved", lambda first, second: {"steps"}, "should give {'numbers', 'scaling'}, got {'steps'}"),
        ("what_moved", lambda first, second: set(), "should give {'steps'}, got an empty set"),
        (
            "join",
            lambda A1, B1, s1, A2, B2, s2: (torch.cat([s1 * A1, s2 * A2], dim=1), torch.cat([B1, B2], dim=1)),
            "should give [[[2, 4, 0], [0, -0.5, 0.5]], [[1, 2], [3, 0.5]]], got [[[2, 4, 0, 0, -0.5, 0.5]], ",
        ),
        ("as_matrix", lambda update, size: torch.ones(2, 3), "as_matrix(linear, 3)"),
        ("keep_the_stop", lambda ids: ids, "keep_the_stop([5, 9, 7, 2], 6, 2)\nraises TypeError"),
        (
            "keep_the_stop",
            lambda ids, n, eos: [1],
            "keep_the_stop([5, 9, 7, 2], 6, 2)\nshould give [5, 9, 7, 2, -100, -100], got [1]",
        ),
        ("keep_the_stop", lambda ids, n, eos: ids.extend([-100] * (n - len(ids))) or ids, "changes what it was given"),
        (
            "keep_the_stop",
            two_lines,
            "keep_the_stop([5, 9, 7, 2], 6, 2)\nraises ValueError: two.\n",
        ),
    ],
)
def test_an_unknown_wrong_answer_is_told_what_is_wrong(capsys, name, answer, expected):
    verdict = said(capsys, by_name(name), answer)
    assert verdict.startswith("Not yet: ") and expected in verdict


@each_exercise
def test_a_case_that_fails_can_be_told_from_the_others(exercise):
    calls = [", ".join(map(exercises.engine._argument, case)) for case in exercise.cases]
    assert len(set(calls)) == len(calls)


def test_a_check_does_not_change_the_cases(capsys):
    exercise = by_name("weight_after")
    (in_place,) = (mistake.answer for mistake in exercise.mistakes if mistake.name == "W changed in place")
    for _ in range(2):
        assert "W changed in place" in said(capsys, exercise, in_place)
    assert "Correct." in said(capsys, exercise, exercise.reference)


# --- whatever comes -------------------------------------------------------------------------------------------------


def assert_useful(text):
    assert text.startswith(("Not yet", "Still to do", "\x1b[32mCorrect")), text
    assert 1 <= len(text.splitlines()) <= 2 and len(text) < 320, text
    assert " at 0x" not in text, "an address differs from run to run"


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.complex_numbers() | st.binary(),
        lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_data_never_raises_and_is_answered(answer):
    for exercise in EXERCISES:
        for given_answer in (answer, lambda *args: answer):
            with pytest.MonkeyPatch.context() as patch:
                lines = []
                patch.setattr("builtins.print", lambda text, lines=lines: lines.append(text))
                exercise.check(given_answer)
            assert len(lines) == 1
            assert_useful(lines[0])


# --- hints, solution, registry ----------------------------------------------------------------------------------------


@each_exercise
def test_hints_come_one_by_one_and_end(capsys, exercise):
    fresh = copy.copy(exercise)
    for _ in range(len(fresh.hints) + 2):
        fresh.hint()
    lines = capsys.readouterr().out.splitlines()
    expected = [f"Hint {n} of {len(fresh.hints)}: {hint}" for n, hint in enumerate(fresh.hints, start=1)]
    assert lines == expected + ["That was the last hint; solution() prints the answer."] * 2


@each_exercise
def test_an_exercise_is_complete(exercise):
    assert exercise.difficulty in (1, 2, 3) and 1 <= exercise.minutes <= 30
    assert exercise.question.endswith(("?", ".")) and len(exercise.question) < 130
    assert len({mistake.name for mistake in exercise.mistakes}) == len(exercise.mistakes)
    assert exercise.source not in repr(exercise), "showing an exercise must not show its solution"


def test_the_registry_is_complete():
    entries = registry()
    assert entries.keys() >= {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    for stem, listed in entries.items():
        module = getattr(exercises, f"nb{stem[:2]}")
        for exercise in listed:
            assert getattr(module, exercise.name) is exercise


def test_an_example_of_two_mistakes_is_called_by_the_first(capsys):
    exercise = Exercise(
        name="two",
        question="One and one?",
        difficulty=1,
        minutes=1,
        hints=("Count.",),
        source="answer = 2",
        takeaway="Two.",
        mistakes=(Mistake("first", 3, "one too many."), Mistake("second", 3.0, "never said.")),
    )
    assert said(capsys, exercise, 3) == "Not yet (first): one too many.\n"
