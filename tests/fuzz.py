"""Coverage-guided fuzzing of what reads files and answers: python tests/fuzz.py SECONDS [TARGET ...]

Each target is given SECONDS. It may refuse its input with a documented error in words; anything else ends the run,
with the traceback, and leaves the input in build/fuzz/. All targets go into experiments/results/fuzz.json.
It needs atheris, which there is for Linux and Python up to 3.13: .venv/bin/python -m pip install atheris
"""

import io
import json
import re
import subprocess
import sys
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import atheris
import pyarrow
import torch
from pyarrow import parquet

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["lorautils", "json", "yaml", "gguf"]):
    import test_robust_api as robust
    from test_orders import ORDER

    from experiments.machine import machine
    from lorautils import basemodel, lora
    from lorautils.cli import blind, runs
    from lorautils.data import load_pairs
    from lorautils.export import check, gguf, package, server
    from lorautils.formats import report, rows, tokens
    from lorautils.results import RESULTS
    from lorautils.tasks import cron, orders

RESULT = RESULTS / "fuzz.json"
WORK = ROOT / "build" / "fuzz"
FOLDER = TemporaryDirectory()


def scratch(name: str) -> Path:
    """Return a path in a folder that ends with the process."""
    return Path(FOLDER.name) / name


def pairs(data: bytes) -> None:
    """Training pairs, a JSON object a line."""
    scratch("pairs.jsonl").write_bytes(data)
    read = robust.answered(load_pairs, scratch("pairs.jsonl"))
    assert isinstance(read, ValueError) or all(pair.prompt.strip() and pair.completion.strip() for pair in read)


def settings(data: bytes) -> None:
    """A run's settings, YAML."""
    scratch("run.yaml").write_bytes(data)
    robust.is_refused(scratch("run.yaml"))


def manifest(data: bytes) -> None:
    """The cache's list of its files with their hashes, JSON, which says whether the converted GGUF is whole."""
    scratch("manifest.json").write_bytes(data)
    damage = basemodel.damage_of(Path(FOLDER.name))
    assert damage is None or damage.strip()


def adapter(name: str, data: bytes) -> None:
    """One file of an adapter, beside its other one: loaded whole, or refused with the model as it was."""
    model = robust.small_llama()
    scratch(name).write_bytes(data)
    if isinstance(robust.answered(lora.load, model, FOLDER.name), robust.DOCUMENTED):
        assert not any(isinstance(module, lora.LoRALinear) for module in model.modules()), "half-loaded"
    else:
        assert all(factor.isfinite().all() for factor in lora.factors(model).values())


def schedule(data: bytes) -> None:
    """An answer that may be a cron expression."""
    text = data.decode("utf-8", errors="surrogateescape")
    if cron.is_valid(text):
        short = cron.canonical(text)
        assert cron.canonical(short) == short and cron.equivalent(text, short) and cron.describe(short)
    else:
        assert isinstance(robust.answered(cron.canonical, text), ValueError)


def order(data: bytes) -> None:
    """An answer that may be an order, JSON."""
    why = orders.problem(data.decode("utf-8", errors="surrogateescape"))
    assert why is None or why.startswith(("not JSON: ", "valid JSON, but "))


def table(ending: str, data: bytes) -> None:
    """A file of people's rows, which is read, and reported row by row as `lorautils data` does."""
    path = scratch(f"rows{ending}")
    path.write_bytes(data)
    read = robust.answered(rows.read, [path])
    if isinstance(read, robust.DOCUMENTED):
        return
    tokenizer = basemodel.load_tokenizer()
    sequences, refused = tokens.encode_rows(tokenizer, read.rows)
    assert all(len(text) < 2000 for text in [*read.refused, *refused])
    assert all(isinstance(text, str) for _, text in report.findings(tokenizer, read, sequences, refused, 1024))
    assert all(report.shown(tokenizer, sequence) for sequence in sequences[:1])


def base(data: bytes) -> None:
    """A GGUF that a user names as the base: a small Llama's with this header."""
    scratch("base.gguf").write_bytes(data)
    robust.answered(package.check_base, scratch("base.gguf"), FACTORS, SMALL)


def run_json(data: bytes) -> None:
    """What a run's folder says of it."""
    scratch("run").mkdir(exist_ok=True)
    (scratch("run") / runs.NAME).write_bytes(data)
    robust.answered(runs.state_of, scratch("run"), json.loads(RUN), True)


def judged(data: bytes) -> None:
    """The key of judged pairs."""
    scratch("pairs").write_text('{"better": "A"}\n{"better": "="}\n', encoding="utf-8")
    blind.key_of(scratch("pairs")).write_bytes(data)
    robust.answered(blind.counted, scratch("pairs"))


def answer(data: bytes) -> None:
    """What a server answers to each question."""
    server.DIRECT = SimpleNamespace(open=lambda request, timeout: io.BytesIO(data))
    robust.answered(check.way_of, "http://127.0.0.1:1")
    robust.answered(server.complete, "http://127.0.0.1:1", "a")


TARGETS = {
    "pairs": pairs,
    "settings": settings,
    "manifest": manifest,
    lora.CONFIG: lambda data: adapter(lora.CONFIG, data),
    lora.WEIGHTS: lambda data: adapter(lora.WEIGHTS, data),
    "schedule": schedule,
    "order": order,
    **{f"rows{ending}": partial(table, ending) for ending in (".jsonl", ".json", ".csv", ".parquet")},
    "base.gguf": base,
    "run.json": run_json,
    "judged": judged,
    "answer": answer,
}
SMALL = robust.small_llama().config
FACTORS = {"model.layers.0.self_attn.q_proj": (torch.zeros(16, 2), torch.zeros(2, 16))}
RUN = b'{"state": "interrupted", "settings": {"r": 8, "model": null}, "files": {"data": {"a.jsonl": "00"}}}'
ROWS = [
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    {"prompt": "a", "completion": "b\u00e9"},
    {"instruction": "a", "input": "c", "output": "b"},
    {"text": "a. b!"},
]
ANSWER = [{"id": 0, "completion_probabilities": [{"logprob": -1.5}], "tokens": [1], "content": "b", "data": []}]


def seeds() -> dict[str, bytes]:
    """Return a good input of every target; the files that belong to it stay in the scratch folder."""
    model = robust.small_llama()
    lora.inject(model, lora.Config(["q_proj"], r=2))
    lora.save(model, FOLDER.name)
    good = {"pairs": robust.PAIRS, "settings": robust.SETTINGS, "schedule": b"*/5 0 1 jan mon-fri"}
    good |= {name: scratch(name).read_bytes() for name in (lora.CONFIG, lora.WEIGHTS)}
    basemodel._write_manifest(Path(FOLDER.name))
    good |= {"manifest": scratch("manifest.json").read_bytes(), "order": json.dumps(ORDER).encode()}
    good["rows.jsonl"] = "\n".join(map(json.dumps, ROWS)).encode()
    good |= {"rows.json": json.dumps(ROWS).encode(), "rows.csv": b'prompt,completion\r\n"a, b",c\r\n'}
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), scratch("good.parquet"))
    gguf.write_adapter(scratch("good.gguf"), FACTORS, 4, model.config)
    good |= {"rows.parquet": scratch("good.parquet").read_bytes(), "base.gguf": scratch("good.gguf").read_bytes()}
    good |= {"run.json": RUN, "judged": b'{"models": ["one", "two"], "same": 3, "A": ["one", "two"]}'}
    return good | {"answer": json.dumps(ANSWER).encode()}


def run(name: str, seconds: int) -> dict:
    """Fuzz one target in a process of its own, as libFuzzer ends the process; return what it counted."""
    corpus = WORK / name
    corpus.mkdir(parents=True, exist_ok=True)
    good = seeds()[name]
    (corpus / "good").write_bytes(good)
    words = {re.sub(rb"(?s).", lambda byte: b"\\x%02x" % ord(byte[0]), word) for word in re.findall(rb"\w+|\S", good)}
    (WORK / f"{name}.words").write_bytes(b"".join(b'"%s"\n' % word for word in sorted(words)))
    limits = [f"-max_total_time={seconds}", f"-dict={WORK}/{name}.words", "-print_final_stats=1", "-seed=1"]
    limits.append(f"-artifact_prefix={WORK}/{name}-")
    command = [sys.executable, __file__, "--fuzz", name, str(corpus), *limits]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        print(done.stdout[-5000:])
    tried = re.search(r"number_of_executed_units: +(\d+)", done.stdout)
    covered = re.findall(r"\bcov: (\d+)", done.stdout)
    return {
        "inputs": int(tried[1]),
        "branches": int((covered or [0])[-1]),
        "seconds": seconds,
        "failed": bool(done.returncode),
    }


def main(arguments: list[str]) -> int:
    """Fuzz the named targets, or all and record them; return 1 where one failed."""
    if arguments[:1] == ["--fuzz"]:
        seeds()
        atheris.Setup([sys.argv[0], *arguments[2:]], TARGETS[arguments[1]])
        atheris.Fuzz()
    seconds, *names = arguments
    found = {}
    for name in names or TARGETS:
        found[name] = run(name, int(seconds))
        print(name, found[name], flush=True)
    if not names:
        about = {"date": date.today().isoformat(), "machine": machine("atheris")}
        RESULT.write_text(json.dumps(about | {"targets": found}, indent=1) + "\n", encoding="utf-8")
    return int(any(of["failed"] for of in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
