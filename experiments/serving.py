"""What do other ways to run the shipped adapter answer, beside PEFT? `python -m experiments.serving`.

Sixty phrases of Test-C, greedy: right answers, answers with PEFT's text, and the largest difference of a chosen
token's log-probability, in nats. The ways: llama.cpp with each type of file, PEFT on 4 bits, a base that is off its
grid, and one mistake each. Fifteen minutes on two idle cores. With --record it goes to results/serving.json.

--speed asks what twenty answers cost, a process for each way, on an idle machine; with --record as well, its rows
go into the same file.
"""

import argparse
import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from torch import Tensor, nn

from experiments.machine import machine
from lorautils import evaluation, setup
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.export import faults, gguf, package, server
from lorautils.lora import PROJECTIONS
from lorautils.results import RESULTS
from lorautils.tasks import cron

SLOTS = 8  # requests at a time
RECORD = RESULTS / "serving.json"


def completions(folder: Path, base: str, adapters: Sequence[str], prompts: Sequence[str]) -> list[server.Completion]:
    """Return llama.cpp's answers with the first of the adapters on, or the model alone."""
    files, active = [folder / f"{name}.gguf" for name in adapters], 0 if adapters else None
    exact = base.endswith("F32")
    model = folder / f"{base}.gguf"
    with server.running(model, files, active=active, slots=SLOTS, context=512, exact=exact) as url:
        return server.complete_all(url, [(prompt,) for prompt in prompts], at_once=SLOTS)


def row(name: str, model, said: Sequence[server.Completion], cases: Sequence[cron.Example]) -> dict:
    """Return one line of the ledger, and print it."""
    same, difference = server.compare(model, said)
    right = cron.score([answer.text.strip() for answer in said], cases).equivalent
    print(f"{name:42} right {right:3}   same text {same:3}   largest difference {difference:.1e}", flush=True)
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


# 4 bits: other grids, other orders ------------------------------------------------------------------------------------


def nf4(weight: Tensor) -> Tensor:
    """Return a weight as NF4 stores it, unpacked again."""
    import bitsandbytes.functional as bnb

    return bnb.dequantize_4bit(*bnb.quantize_4bit(weight.float(), quant_type="nf4"))


def answers(model: nn.Module, tokenizer, prompts: Sequence[str]) -> Iterator[server.Completion]:
    """Yield a model's own greedy answers, as a server gives them."""
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")
        said = model.generate(**ids, max_new_tokens=32, do_sample=False, pad_token_id=tokenizer.pad_token_id)[0]
        tokens = said[ids["input_ids"].numel() :]
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        said = server.Completion(ids["input_ids"][0].tolist(), tokens.tolist(), [], text)
        yield said._replace(log_p=server.read(model, said)[1].tolist())


def packed_by_peft(adapter: Path, folder: Path, cases: Sequence[cron.Example]) -> list[dict]:
    """Return the lines of NF4: adapter beside packed weights, merged before and after they were packed."""
    prompts = [cron.cron_prompt(case.text) for case in cases]
    model, tokenizer = evaluation.load_adapter(adapter)

    def pack(layers: nn.Module) -> None:
        for name, module in layers.named_modules():
            if name.rpartition(".")[2] in PROJECTIONS:
                weight = getattr(module, "base_layer", module).weight
                weight.data = nf4(weight.data)

    beside = evaluation.load_adapter(adapter)[0]
    pack(beside)
    before = evaluation.load_adapter(adapter)[0].merge_and_unload()
    pack(before)
    after = copy.deepcopy(beside).merge_and_unload()
    pack(after)
    ways = {"adapter beside": beside, "merged, then packed": before, "merged into packed": after}
    return [row(f"PEFT NF4, {way}", model, [*answers(one, tokenizer, prompts)], cases) for way, one in ways.items()]


def turned(weight: Tensor, module: str, head: int) -> Tensor:
    """Renumber the channels of a weight: each group of `head` is turned by a quarter, and the model says the same.

    Blocks of 32 then hold numbers of two old blocks, as in any base that was not made for this grid. The outputs of q
    and k stay, as RoPE numbers them, and tokens do. For factors: A (r, in) and B (out, r) have one such side each.
    """
    kept = {"q_proj", "k_proj", "embed_tokens", "lm_head"}
    for side, size in enumerate(weight.shape):
        if size % head == 0 and not (side == 0 and module.rpartition(".")[2] in kept):
            weight = weight.unflatten(side, (-1, head)).roll(head // 4, side + 1).flatten(side, side + 1)
    return weight


def off_its_grid(adapter: Path, folder: Path, cases: Sequence[cron.Example]) -> list[dict]:
    """Return the lines for the same model with its channels renumbered: in float32, as a control, and in 4 bits."""
    prompts = [cron.cron_prompt(case.text) for case in cases]
    model, tokenizer = evaluation.load_adapter(adapter)
    factors, alpha, config = package.checked(adapter, None, None)
    head = config.hidden_size // config.num_attention_heads
    moved = {name: (turned(b, name, head), turned(a.T, "", head).T) for name, (b, a) in factors.items()}
    gguf.write_adapter(folder / "turned.gguf", moved, alpha, config)
    for name, one in (("base", load_base_model()), ("merged", evaluation.load_adapter(adapter)[0].merge_and_unload())):
        for key, weight in one.named_parameters():  # a tied head once
            weight.data = turned(weight.data, key.removesuffix(".weight"), head)
        for kind in ("F32", "Q4_1"):
            gguf.write_model(folder / f"turned-{name}-{kind}.gguf", one, tokenizer, kind)
    runs = {
        "llama.cpp F32, adapter beside": ("turned-base-F32", ["turned"]),
        "llama.cpp Q4_1, adapter beside": ("turned-base-Q4_1", ["turned"]),
        "llama.cpp Q4_1, merged": ("turned-merged-Q4_1", []),
    }
    return [
        row(f"{name}, off its grid", model, completions(folder, *run, prompts), cases) for name, run in runs.items()
    ]


# One mistake each -----------------------------------------------------------------------------------------------------


def mistakes(adapter: Path, folder: Path, cases: Sequence[cron.Example]) -> list[dict]:
    """Return a line for each mistake in a file or a prompt, in float32."""
    prompts = [cron.cron_prompt(case.text) for case in cases]
    model, tokenizer = evaluation.load_adapter(adapter)
    given = package.checked(adapter, None, None)
    config = given[-1]
    gguf.write_adapter(folder / "adapter.gguf", *given)
    gguf.write_model(folder / "base-F32.gguf", base := load_base_model(), tokenizer, "F32")
    rows = []
    for name, (factors, alpha) in faults.mistakes(*given).items():
        gguf.write_adapter(folder / "broken.gguf", factors, alpha, config)
        rows.append(row(f"fault: {name}", model, completions(folder, "base-F32", ["broken"], prompts), cases))
    said = completions(folder, "base-F32", ["adapter"], [prompt.removesuffix("\n") for prompt in prompts])
    whole = [one._replace(prompt=tokenizer(prompt)["input_ids"]) for one, prompt in zip(said, prompts, strict=True)]
    rows.append(row("fault: the prompt's last newline lost", model, whole, cases))
    rope = base.config.rope_parameters["rope_theta"]
    base.config.rope_parameters["rope_theta"] = 10000.0  # what llama.cpp takes where a file says nothing
    gguf.write_model(folder / "rope-F32.gguf", base, tokenizer, "F32")
    base.config.rope_parameters["rope_theta"] = rope
    rows.append(row("fault: rope base lost", model, completions(folder, "rope-F32", ["adapter"], prompts), cases))
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, module in base.named_modules():
        if (kind := name.rpartition(".")[2]) in heads:
            module.weight.data = faults.halves(module.weight.data, heads[kind])
    gguf.write_model(folder / "rows-F32.gguf", base, tokenizer, "F32")
    said = completions(folder, "rows-F32", ["adapter"], prompts)
    return [*rows, row("fault: rows of the base's q and k as they are", model, said, cases)]


# What an answer costs -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(way: str, adapter: Path, folder: Path) -> Iterator[Callable[[str], object]]:
    """Give a function that answers one prompt by PEFT, by the merged model, or by llama.cpp and a type of file."""
    if way in gguf.TYPES:
        with server.running(folder / f"{way}.gguf", [folder / "adapter.gguf"], active=0, slots=1) as url:
            yield lambda prompt: server.complete(url, prompt)
    else:
        model, tokenizer = evaluation.load_adapter(adapter)
        model = model if way == "PEFT" else model.merge_and_unload()
        yield lambda prompt: evaluation.evaluate(model, tokenizer, [prompt])


def cost(way: str, adapter: Path, folder: Path, prompts: Sequence[str]) -> dict:
    """Return what answers cost, one at a time: seconds of all cores, and megabytes beyond those of the imports."""
    setup()
    before = psutil.Process().memory_info().rss
    with answering(way, adapter, folder) as ask:
        ask(prompts[0])
        begin = time.process_time()
        for prompt in prompts:
            ask(prompt)
        seconds, after = time.process_time() - begin, psutil.Process().memory_info().rss
    return {"name": way, "cpu_seconds": round(seconds, 1), "megabytes": round((after - before) / 1e6)}


def speed(adapter: Path, folder: Path, cases: Sequence[cron.Example]) -> list[dict]:
    """Return what the answers cost in each way, measured in a process of its own."""
    gguf.write_adapter(folder / "adapter.gguf", *package.checked(adapter, None, None))
    base, tokenizer = load_base_model(), load_tokenizer()
    kinds = ("F32", "F16", "Q8_0")
    for kind in kinds:
        gguf.write_model(folder / f"{kind}.gguf", base, tokenizer, kind)
    prompts, rows = [cron.cron_prompt(case.text) for case in cases], []
    for way in ("PEFT", "merged, PEFT", *kinds):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            rows.append(process.submit(cost, way, adapter, folder, prompts).result())
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print the ledger, and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phrases", type=int, help="of Test-C; default: 60, and 20 for --speed")
    parser.add_argument("--speed", action="store_true", help="seconds and memory instead, on an idle machine")
    parser.add_argument("--record", action="store_true", help="write results/serving.json")
    options = parser.parse_args()
    setup()
    cases = cron.test_c()[: options.phrases or (20 if options.speed else 60)]
    rows = []
    for part in [speed] if options.speed else [ledger, mistakes, packed_by_peft, off_its_grid]:
        with TemporaryDirectory() as folder:
            rows += part(cron.ADAPTER, Path(folder), cases)
        if options.record:
            record(
                {"machine": machine("xllamacpp", "gguf", "bitsandbytes"), "phrases": len(cases), "rows": rows}, options
            )


def record(found: dict, options: argparse.Namespace) -> None:
    """Write what was found, beside what --speed found, or the other way round."""
    old = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    new = old | ({"speed": found} if options.speed else found)
    RECORD.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
