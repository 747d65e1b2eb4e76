"""Whatever a public function is given: a result that holds, or a documented error that says what to do."""

import contextlib
import io
import json
import math
import random
import re
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lorautils import basemodel, data, linalg, lora, results
from lorautils.audit import audit
from lorautils.cli.train import parser as train_parser
from lorautils.tasks import cron

ROOT = Path(__file__).parent.parent
DOCUMENTED = (ValueError, TypeError, OSError)
# What to expect or to do: a word of each message must be one of these.
HELP = re.compile(
    r"expected|must|need|only|at least|at most|one for each|\buse\b|write|call|try|give|pass|load|save|make|such as"
    r"|holds no|\bname (?:a|the)\b|bring|leave|put |known are|kinds are|one object a line|correct|exclude"
    r"|the fields are|there:|\brename\b",
    re.IGNORECASE,
)
some = limits(derandomize=True, deadline=None, max_examples=150)


def answered(function, *arguments, **named):
    """The result of a call; of one that is refused, the error, after a look at what it says."""
    try:
        return function(*arguments, **named)
    except DOCUMENTED as error:
        said = str(error)
        assert len(said.split()) >= 6 and HELP.search(said), f"{type(error).__name__}: {said}"
        assert len(said) < 2000, f"{len(said)} characters"
        return error


def mutations(data: bytes, count: int, seed: int = 0):
    """`count` copies of `data`, each with up to four bytes changed, inserted or removed, or a piece cut or doubled."""
    rng = random.Random(seed)
    for _ in range(count):
        spoiled = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at, kind = rng.randrange(len(spoiled) + 1), rng.randrange(6)
            if kind == 0:
                spoiled[at : at + 1] = bytes([rng.randrange(256)])
            elif kind == 1:
                spoiled[at:at] = bytes([rng.choice(b'0123456789-"[]{},:\\ \n\0\xff')])
            elif kind == 2:
                del spoiled[at : at + rng.randint(1, 3)]
            elif kind == 3:
                spoiled[at:at] = spoiled[at : at + rng.randint(1, 40)]
            elif kind == 4 and at < len(spoiled):
                spoiled[at] ^= 1 << rng.randrange(8)
            else:
                del spoiled[at : at + rng.randint(1, len(data))]
        yield bytes(spoiled)


# --- linear algebra -------------------------------------------------------------------------------------------------

OF_A_MATRIX = {
    "numerical_rank": linalg.numerical_rank,
    "effective_rank": linalg.effective_rank,
    "stable_rank": linalg.stable_rank,
    "energy": linalg.energy,
    "rank_for_energy": lambda matrix: linalg.rank_for_energy(matrix, 0.9),
    "svd": linalg.svd,
    "best_rank_k": lambda matrix: linalg.best_rank_k(matrix, 1),
    "low_rank_factors": lambda matrix: linalg.low_rank_factors(matrix, 1),
    "projector_onto": linalg.projector_onto,
    "is_projector": linalg.is_projector,
    "principal_angles": lambda matrix: linalg.principal_angles(matrix, torch.eye(2)),
    "principal_angles, second": lambda matrix: linalg.principal_angles(torch.eye(2), matrix),
}
NO_MATRIX = [
    None,
    3.5,
    "a",
    [[1.0, 2.0], [3.0, 4.0]],
    np.eye(2),
    torch.nn.Linear(2, 2),
    torch.eye,
    torch.eye(2, dtype=torch.int64),
    torch.eye(2, dtype=torch.bool),
    torch.eye(2, dtype=torch.bfloat16),
    torch.eye(2, dtype=torch.complex64),
    torch.tensor(1.0),
    torch.ones(3),
    torch.ones(2, 2, 2),
    torch.empty(0, 2),
    torch.empty(2, 0),
    torch.tensor([[1.0, math.nan]]),
    torch.tensor([[1.0, math.inf]]),
]


@pytest.mark.parametrize("function", OF_A_MATRIX.values(), ids=OF_A_MATRIX)
def test_what_is_no_matrix_is_refused_in_words(function):
    for value in NO_MATRIX:
        assert isinstance(answered(function, value), DOCUMENTED), value


entry = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.5, 2.0, 1e-300, 1e-30, -1e-5, 1e30, 1e150, -1e200])
sides = st.tuples(st.integers(1, 4), st.integers(1, 4))
matrices = sides.flatmap(
    lambda shape: st.lists(entry, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda values: torch.tensor(values, dtype=torch.float64).reshape(shape)
    )
)


@some
@given(matrices)
@example(1e-200 * torch.eye(2, dtype=torch.float64))
@example(1e200 * torch.eye(2, dtype=torch.float64))
@example(torch.tensor([[1.0, 1e200], [0.0, 0.0]], dtype=torch.float64))
def test_ranks_shares_and_projectors_hold_for_numbers_of_any_size(matrix):
    smaller = min(matrix.shape)
    assert 0 <= linalg.numerical_rank(matrix) <= smaller
    if not matrix.any():
        return
    assert 0.999 <= linalg.effective_rank(matrix) <= 1.001 * smaller
    assert 0.999 <= linalg.stable_rank(matrix) <= 1.001 * smaller
    shares = linalg.energy(matrix)
    assert shares[-1] == 1 and (shares.diff() >= -1e-12).all() and (shares > 0).all()
    assert 1 <= linalg.rank_for_energy(matrix, 0.9) <= smaller
    assert linalg.best_rank_k(matrix, 1).isfinite().all()
    P = linalg.projector_onto(matrix)
    assert linalg.is_projector(P) and torch.allclose(P, P.T)


@some
@given(matrices)
@example(1e-200 * torch.eye(2, dtype=torch.float64))
@example(1e200 * torch.eye(2, dtype=torch.float64))
@example(torch.tensor([[1.0, 1e200], [0.0, 0.0]], dtype=torch.float64))
@example(torch.tensor([[1e-300]], dtype=torch.float64))
def test_is_projector_agrees_with_exact_fractions(matrix):
    rows = [[Fraction(value) for value in row] for row in matrix.tolist()]
    m, n = matrix.shape
    squared = [[sum(rows[i][k] * rows[k][j] for k in range(n)) for j in range(n)] for i in range(m)] if m == n else None
    largest = max((abs(value) for row in rows for value in row), default=0)

    def near(one, other):
        return all(abs(a - b) <= largest / 10**9 for a, b in zip(chain(*one), chain(*other), strict=True))

    assert linalg.is_projector(matrix) == (m == n and near(squared, rows))


# --- schedules ------------------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [*"0123456789*/-,", " ", "*", "60", "1-5", "*/15", "mon", "JAN", "L", "?", "#", "@daily", "\n"]
)
cron_like = st.lists(pieces, max_size=14).map("".join) | st.text(max_size=12)
fields = st.sampled_from(
    ["*", "0", "59", "*/7", "1-5", "5-1", "9-9", "1,3", "mon", "1-5/2", "*/99", "31", "sun-sat", "7"]
)
schedules = st.lists(fields, min_size=4, max_size=6).map(" ".join)


@limits(derandomize=True, deadline=None, max_examples=400)
@given(cron_like | schedules)
def test_any_text_is_a_schedule_or_not(text):
    valid = cron.is_valid(text)
    assert valid in (True, False)
    if not valid:
        assert isinstance(answered(cron.canonical, text), ValueError)
        assert not cron.equivalent(text, text)
        return
    short = cron.canonical(text)
    assert cron.is_valid(short) and cron.canonical(short) == short and cron.equivalent(text, short)
    assert cron.describe(short)
    assert len(cron.composition(short)) == 3


@some
@given(st.lists(st.text(max_size=20) | cron_like | st.none(), max_size=5))
def test_any_answers_can_be_scored(answers):
    examples = [cron.Example("noon", "0 12 * * *", "daily time")] * len(answers)
    scored = cron.score(answers, examples)
    assert scored.n == len(answers) >= scored.valid >= scored.equivalent >= scored.exact
    assert isinstance(answered(cron.score, [*answers, "* * * * *"], examples), ValueError)


@some
@given(st.integers(-3, 10**9), st.integers(-3, 10**9))
def test_an_interval_holds_its_share_or_is_refused(successes, n):
    interval = answered(results.wilson_interval, successes, n)
    if not isinstance(interval, ValueError):
        low, high = interval
        assert 0 <= low <= successes / n + 1e-9 and successes / n - 1e-9 <= high <= 1
        assert "%" in results.percent(successes, n)


@pytest.mark.parametrize(
    ("n", "share"), [(-1, 0.3), (3, -0.1), (3, 1.1), (3, math.nan), (math.nan, 0.3), (math.inf, 1), (2.5, 0.3)]
)
def test_no_such_number_of_examples(n, share):
    assert isinstance(answered(cron.train_examples, n, human_share=share), ValueError)


# --- files that people write ----------------------------------------------------------------------------------------

PAIRS = b'{"prompt": "a\\n", "completion": "b"}\n{"prompt": "caf\xc3\xa9", "completion": "\\u00e9"}\n'
BAD_PAIRS = [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b'{"prompt": ' + b"9" * 5000 + b"}", b"\0", b"\xff\xfe{}"]
BAD_PAIRS += [b'{"prompt": ["' + b"x" * 100_000 + b'"], "completion": "b"}', b'{"' + b"x" * 100_000 + b'": 1}']
BAD_PAIRS += [b'{"prompt": "\\ud800", "completion": "b"}', b"NaN", b"", b"{}"]


def test_a_mutated_file_of_pairs_is_read_or_refused_by_line(tmp_path):
    refused, path = 0, tmp_path / "pairs.jsonl"
    for written in mutations(PAIRS, 600):
        path.write_bytes(written)
        pairs = answered(data.load_pairs, path)
        refused += isinstance(pairs, ValueError)
        assert isinstance(pairs, ValueError) or all(pair.prompt.strip() and pair.completion.strip() for pair in pairs)
    assert 100 < refused < 600


@pytest.mark.parametrize("written", BAD_PAIRS, ids=lambda written: repr(written[:20]))
def test_a_bad_file_of_pairs_is_refused_in_words(tmp_path, written):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' + written if written else written)
    error = answered(data.load_pairs, path)
    assert isinstance(error, ValueError) and str(path) in str(error)


def test_a_file_of_pairs_as_windows_writes_it(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + PAIRS.replace(b"\n", b"\r\n"))
    assert data.load_pairs(path) == [data.Pair("a\n", "b"), data.Pair("café", "é")]


@pytest.mark.parametrize("name", ["", ".", "nowhere/pairs.jsonl", "x" * 300, "a\0b"], ids=lambda name: repr(name[:9]))
def test_a_path_that_is_no_file_is_an_error_of_the_system(tmp_path, name):
    with pytest.raises((OSError, ValueError)):
        data.load_pairs(tmp_path / name)


def is_refused(path: Path) -> bool:
    """Whether a file of options is refused, as it must be: in one line, not by another exception."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            train_parser().parse_args(["--config", str(path)])
        except SystemExit as end:
            assert end.code == 2 and said.getvalue().count("\n") == 1
            return True
        except UnicodeDecodeError:  # a ValueError, which `main` says in one line
            return True
    return False


SETTINGS = (ROOT / "configs" / "run.yaml").read_bytes()
BAD_SETTINGS = ["!!bool x", "epochs: !!int ''", "!!timestamp x", "epochs: 2001-99-99", "? [a]\n: b", "a: &a [*a]", "\0"]
BAD_SETTINGS += [
    "!!python/object/apply:os.system [ls]",
    "epochs: !!float x",
    "[" * 5000,
    "epochs: 0b",
    "{a: b: c}",
    "%",
]
BAD_SETTINGS += [f"epochs: {'9' * 5000}", "epochs: &e [*e]", "3", "epochs: !!binary x", "<<: 3", "a:\n\tb: c"]
LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)
# Mappings that are merged, each ten times into the next.
MERGED = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{', '.join(['*' + chr(97 + i)] * 10)}]}}\n" for i in range(9)
)


def test_mutated_settings_are_read_or_refused_in_words(tmp_path):
    refused, path = 0, tmp_path / "run.yaml"
    for written in mutations(SETTINGS, 200):
        path.write_bytes(written)
        refused += is_refused(path)
    assert 20 < refused < 200


@pytest.mark.parametrize("text", BAD_SETTINGS, ids=lambda text: repr(text[:30]))
def test_bad_settings_are_refused_in_words(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    assert is_refused(tmp_path / "run.yaml")


@pytest.mark.parametrize("field", ["epochs", "seed", "output", "bf16"])
def test_a_few_lines_that_describe_billions_are_refused_at_once(tmp_path, field):
    (tmp_path / "run.yaml").write_text(f"{field}:\n" + "".join(f"  - {line[3:]}\n" for line in LAUGHS.splitlines()))
    assert is_refused(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text(MERGED, encoding="utf-8")
    assert is_refused(tmp_path / "run.yaml")


# --- results --------------------------------------------------------------------------------------------------------

RECORDED = {path.name for path in results.RESULTS.iterdir()}


@some
@given(st.text(max_size=20) | st.sampled_from(["", ".", "..", "README.md", "/etc/passwd", "../README.md", "x" * 300]))
def test_a_name_that_is_no_result_is_refused_in_words(name):
    assume(name not in RECORDED)  # hypothesis draws strings that stand in the code, and these names do
    assert isinstance(answered(results.read, name), OSError)


# --- adapters and the base model ------------------------------------------------------------------------------------


def small_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)).eval()


@pytest.fixture
def adapter(tmp_path) -> Path:
    model = small_llama()
    lora.inject(model, lora.Config(["q_proj"], r=2))
    lora.save(model, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(("name", "least"), [(lora.CONFIG, 150), (lora.WEIGHTS, 150)])
def test_a_mutated_adapter_is_loaded_whole_or_not_at_all(adapter, name, least):
    good, refused = (adapter / name).read_bytes(), 0
    model = small_llama()
    for written in mutations(good, 300):
        (adapter / name).write_bytes(written)
        loaded = answered(lora.load, model, adapter)
        if isinstance(loaded, DOCUMENTED):
            refused += 1
            assert not any(isinstance(module, lora.LoRALinear) for module in model.modules()), "half-loaded"
        else:
            assert all(p.isfinite().all() for p in lora.factors(model).values())
            model = small_llama()
    assert refused > least


FIELDS = {
    "target_modules": [None, 5, [], [5], {}, "", "(", "*", [["q_proj"]], "q_proj", {"q_proj": 1}],
    "r": [0, -1, 2.5, "8", None, True, [8]],
    "lora_alpha": [None, "8", [], math.nan, math.inf, True, {}],
    "lora_dropout": [None, "0.1", 1, 1.0, -0.1, math.nan, []],
    "use_rslora": [None, "yes", 1, []],
    "rank_pattern": [None, [], "q", {"(": 4}, {"q_proj": "4"}, {"q_proj": 0}, {"q_proj": None}, 3],
    "alpha_pattern": [None, [], "q", {"(": 4}, {"q_proj": "4"}, {"q_proj": math.nan}, 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in FIELDS for value in FIELDS[name]], ids=repr)
def test_a_configuration_with_a_wrong_value_is_refused_in_words(adapter, name, value):
    record = json.loads((adapter / lora.CONFIG).read_text(encoding="utf-8"))
    (adapter / lora.CONFIG).write_text(json.dumps(record | {name: value}), encoding="utf-8")
    assert isinstance(answered(lora.load, small_llama(), adapter), ValueError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["layout", "source", "files", "a"]), inner)
    ),
    max_leaves=8,
)


def test_a_mutated_manifest_is_good_or_its_damage_is_named(tmp_path):
    (tmp_path / "weights").write_bytes(b"x" * 100)
    basemodel._write_manifest(tmp_path)
    manifest = tmp_path / "manifest.json"
    good, named = manifest.read_bytes(), 0
    assert basemodel.damage_of(tmp_path) is None
    for written in [*mutations(good, 500), b"[" * 100_000, b"1" * 5000, good.replace(b"weights", b"a\\u0000b")]:
        manifest.write_bytes(written)
        damage = basemodel.damage_of(tmp_path)
        assert damage is None or damage.strip()
        named += damage is not None
    assert named > 300


@some
@given(json_values, st.sampled_from(["whole", "files", "entry"]))
def test_any_manifest_is_good_or_its_damage_is_named(tmp_path_factory, value, place):
    folder = tmp_path_factory.mktemp("model")
    manifest = {"layout": basemodel.LAYOUT, "source": basemodel.SOURCE.gguf_sha256, "files": {"weights": value}}
    written = {"whole": value, "files": manifest | {"files": value}, "entry": manifest}[place]
    (folder / "manifest.json").write_text(json.dumps(written), encoding="utf-8")
    damage = basemodel.damage_of(folder)
    assert damage or (place == "files" and value == {})


@pytest.mark.parametrize(
    "name", ["~", "~nobody", "~nobody/x", "x" * 300, "a\0b", "\ud800", "/", "..", "a b", " ", "a/b/c"]
)
def test_a_name_that_is_no_model_is_refused_in_words(name):
    assert isinstance(answered(basemodel.load_tokenizer, name), (ValueError, OSError))


# --- the small Llama, the audit, the measures -----------------------------------------------------------------------


ODD_MODULES = {
    "empty": nn.Module,
    "no parameters": nn.ReLU,
    "empty parameter": lambda: nn.ParameterList([torch.empty(0)]),
    "a single number": lambda: nn.ParameterList([torch.tensor(1.0)]),
    "meta": lambda: nn.Linear(2, 2, device="meta"),
    "bf16": lambda: nn.Linear(2, 2, dtype=torch.bfloat16),
    "complex": lambda: nn.Linear(2, 2, dtype=torch.complex64),
    "transposed": lambda: nn.ParameterList([torch.ones(2, 3).T]),
    "shared": lambda: nn.ModuleList([nn.Linear(2, 2)] * 2),
    "ours": lambda: nn.Sequential(lora.LoRALinear(nn.Linear(2, 2))),
}


@pytest.mark.parametrize("make", ODD_MODULES.values(), ids=ODD_MODULES)
def test_an_audit_of_any_module_is_a_table(make):
    module = make()
    assert repr(audit(module)).count("\n") >= 2 and "0 of" not in repr(audit(module)).partition("parameters train")[2]
