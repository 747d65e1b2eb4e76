"""Does vLLM on a GPU answer as PEFT does, and does each request of a mixed batch get its own adapter?

`python -m experiments.serving_vllm FORMAT eager` (bfloat16, float16 or float32; or `FORMAT graphs`) needs an NVIDIA GPU
and an environment with vLLM and the course's packages. An engine with two places for adapters is asked sixty phrases of
Test-C for the adapter, for the base, and for base, adapter and the adapter of orders in one batch; the answers are kept
in my/. `compare` then compares all kept answers with PEFT in float32, on a CPU, and writes results/serving_vllm.json.
"""

import json
import os
import sys

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # one process, which ends with its engine
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")  # greedy answers need no sampler of another package

import torch

from experiments.machine import machine
from lorautils import ROOT, evaluation, setup
from lorautils.basemodel import fetch, load_tokenizer
from lorautils.export import server
from lorautils.results import RESULTS
from lorautils.tasks import cron

RECORD, KEPT = RESULTS / "serving_vllm.json", ROOT / "my" / "vllm"
ADAPTERS = {"cron": ROOT / "adapters" / "cron", "orders": ROOT / "adapters" / "orders"}
PHRASES = 60


def engine(dtype: str, eager: bool):
    """Return vLLM with two places for adapters, each of rank 8 or less."""
    from vllm import LLM

    return LLM(
        str(fetch()),
        dtype=dtype,
        enable_lora=True,
        max_loras=2,
        max_lora_rank=8,
        max_model_len=512,
        enforce_eager=eager,  # else: CUDA graphs, which are recorded at the start
        gpu_memory_utilization=0.2,
        kv_cache_memory_bytes=4_000_000_000,  # else it measures what is free, and fails where others use the GPU
        enable_prefix_caching=False,
        seed=0,
    )


def ask(llm, tokenizer, requests: list[tuple[str, str | None]]) -> list[server.Completion]:
    """Return greedy answers of at most 32 tokens to (prompt, adapter) requests, all of which are sent at once."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    loras = {name: LoRARequest(name, number, str(path)) for number, (name, path) in enumerate(ADAPTERS.items(), 1)}
    said = llm.generate(
        [{"prompt_token_ids": tokenizer(prompt)["input_ids"]} for prompt, _ in requests],
        SamplingParams(temperature=0, max_tokens=32, logprobs=0),
        lora_request=[loras.get(adapter) for _, adapter in requests],
        use_tqdm=False,
    )
    found = []
    for each in said:
        answer = each.outputs[0]
        log_p = [step[token].logprob for step, token in zip(answer.logprobs, answer.token_ids, strict=True)]
        found.append(server.Completion(list(each.prompt_token_ids), list(answer.token_ids), log_p, answer.text))
    return found


def asked(dtype: str, eager: bool) -> dict[str, list[server.Completion]]:
    """Return an engine's answers: of the adapter alone, the base alone, and of each in batches that mix three."""
    tokenizer, llm = load_tokenizer(), engine(dtype, eager)
    prompts = [cron.cron_prompt(case.text) for case in cron.test_c()[:PHRASES]]
    three = (None, "cron", "orders")
    mixed = ask(llm, tokenizer, [(prompt, adapter) for prompt in prompts for adapter in three])
    return {
        "adapter": ask(llm, tokenizer, [(prompt, "cron") for prompt in prompts]),
        "base": ask(llm, tokenizer, [(prompt, None) for prompt in prompts]),
        "base, mixed": mixed[0::3],
        "adapter, mixed": mixed[1::3],
        "orders, mixed": mixed[2::3],
    }


def judged(answers: dict[str, list[server.Completion]], model) -> dict[str, dict]:
    """Return, for each group of answers: whose they are, how many have PEFT's text, the largest difference in nats.

    An answer is the adapter's or the base's, whichever gives its tokens the higher log-probability.
    """
    found = {}
    for name, said in answers.items():
        model.set_adapter("orders" if name.startswith("orders") else "default")
        own, same, largest = 0, 0, 0.0
        for each in said:
            with model.disable_adapter():
                base = server.read(model, each)
            adapter = server.read(model, each)
            wanted, other = (base, adapter) if name.startswith("base") else (adapter, base)
            own += bool(wanted[1].sum() > other[1].sum())
            same += wanted[0].tolist() == each.tokens
            largest = max(largest, (wanted[1] - torch.tensor(each.log_p)).abs().max().item())
        found[name] = {"asked": len(said), "own": own, "same": same, "difference": round(largest, 4)}
    return found


def main() -> None:
    """Ask one engine and keep its answers, or compare what was kept."""
    words = sys.argv[1:]
    setup()
    if words != ["compare"]:
        dtype, mode = words
        answers = asked(dtype, mode == "eager")
        KEPT.mkdir(parents=True, exist_ok=True)
        kept = {"dtype": dtype, "mode": mode, "answers": answers, "machine": machine("vllm", "triton")}
        (KEPT / f"{dtype}_{mode}.json").write_text(json.dumps(kept), encoding="utf-8")
        return
    model, _ = evaluation.load_adapter(ADAPTERS["cron"])
    model.load_adapter(ADAPTERS["orders"], "orders")
    engines = []
    for path in sorted(KEPT.glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        answers = {name: [server.Completion(*each) for each in said] for name, said in kept.pop("answers").items()}
        engines.append(kept | {"groups": judged(answers, model)})
        print(json.dumps(engines[-1], indent=1), flush=True)
    RECORD.write_text(json.dumps({"phrases": PHRASES, "engines": engines}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
