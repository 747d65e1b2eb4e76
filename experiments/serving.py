"""What do other ways to run the shipped adapter answer, beside PEFT? `python -m experiments.serving`.

Sixty phrases of Test-C, greedy: right answers, answers with PEFT's text, and the largest difference of a chosen
token's log-probability, in nats. Ten minutes on two idle cores. With --record it goes to results/serving.json.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.machine import machine
from lorautils import evaluation, setup
from lorautils.basemodel import load_base_model
from lorautils.export import gguf, package, server
from lorautils.results import RESULTS
from lorautils.tasks import cron

SLOTS = 8  # requests at a time


def completions(folder: Path, base: str, adapters: Sequence[str], prompts: Sequence[str]) -> list[server.Completion]:
    """Return llama.cpp's answers with the first of the adapters on, or the model alone."""
    files, active = [folder / f"{name}.gguf" for name in adapters], 0 if adapters else None
    exact = base.endswith("F32")
    with (
        server.running(folder / f"{base}.gguf", files, active=active, slots=SLOTS, context=512, exact=exact) as url,
        ThreadPoolExecutor(SLOTS) as pool,
    ):
        return list(pool.map(lambda prompt: server.complete(url, prompt), prompts))


def row(name: str, model, said: Sequence[server.Completion], cases: Sequence[cron.Example]) -> dict:
    """Return one line of the ledger, and print it."""
    same, difference = server.compare(model, said)
    right = cron.score([answer.text.strip() for answer in said], cases).equivalent
    print(f"{name:32} right {right:3}   same text {same:3}   largest difference {difference:.1e}", flush=True)
    return {"name": name, "right": right, "same": same, "difference": float(f"{difference:.2g}")}


def ledger(adapter: Path, folder: Path, cases: Sequence[cron.Example]) -> list[dict]:
    """Return the lines for PEFT, the merged model, the adapter beside its base, the base alone, and merged files."""
    prompts = [cron.cron_prompt(case.text) for case in cases]
    model, tokenizer = evaluation.load_adapter(adapter)
    gguf.write_adapter(folder / "adapter.gguf", *package.checked(adapter, None, None))
    base = load_base_model()
    merged = evaluation.load_adapter(adapter)[0].merge_and_unload()
    for kind in gguf.TYPES:
        gguf.write_model(folder / f"base-{kind}.gguf", base, tokenizer, kind)
        gguf.write_model(folder / f"merged-{kind}.gguf", merged, tokenizer, kind)
    del base
    beside = {kind: completions(folder, f"base-{kind}", ["adapter"], prompts) for kind in gguf.TYPES}
    own = [said._replace(log_p=server.read(model, said)[1].tolist()) for said in beside["F32"]]
    rows = [row("PEFT", model, own, cases), row("merged, PEFT", merged, own, cases)]
    rows += [row(f"llama.cpp {kind}, adapter beside", model, said, cases) for kind, said in beside.items()]
    for kind in gguf.TYPES:
        rows.append(row(f"llama.cpp {kind}, merged", model, completions(folder, f"merged-{kind}", [], prompts), cases))
    with model.disable_adapter():
        for kind in gguf.TYPES:
            said = completions(folder, f"base-{kind}", [], prompts)
            rows.append(row(f"llama.cpp {kind}, base alone", model, said, cases))
    return rows


def main() -> None:
    """Print the ledger, and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phrases", type=int, default=60, help="of Test-C")
    parser.add_argument("--record", action="store_true", help="write results/serving.json")
    options = parser.parse_args()
    setup()
    with TemporaryDirectory() as folder:
        rows = ledger(cron.ADAPTER, Path(folder), cron.test_c()[: options.phrases])
    if options.record:
        result = {"machine": machine("xllamacpp", "gguf"), "phrases": options.phrases, "rows": rows}
        (RESULTS / "serving.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
