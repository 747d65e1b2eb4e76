"""What a learner may well type: the functions whose arguments the notebooks invite to change keep their sentence.

A check stands where such an argument, or a file of somebody else's, enters. Inside the package, torch and PEFT speak.
"""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lorautils import basemodel, data, linalg, llama, lora, measure, training
from lorautils.audit import audit

M = torch.tensor([[2.0, 2, 0], [2, 0, -4], [3, 2, -2]])
SIZES = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
HEADS = dict(num_attention_heads=4, num_key_value_heads=2)


def tiny(**changes) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SIZES | HEADS | changes)).eval()


def ours() -> llama.Llama:
    return llama.Llama(LlamaConfig(**SIZES | HEADS)).eval()


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=8, n_layer=1, n_head=2))


def injected(model=None, **config):
    model = model or tiny()
    lora.inject(model, lora.Config(**{"target_modules": ["q_proj"]} | config))
    return model


class Letters:
    """A tokenizer in which each letter is a token."""

    eos_token = "."

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) % 64 for letter in text]}


PAIRS = [data.Pair("noon", "12")]


def encoded(max_tokens: int):
    return data.encode(Letters(), [*PAIRS, data.Pair("noon " * 9, "12")], max_tokens)


def trained(model=None, pairs=PAIRS, **options):
    return training.train(model or tiny(), Letters(), pairs, progress=False, **options)


INVITED = [  # function, a bad argument, its call, what the sentence holds: the given value, and what to do
    ("linalg.numerical_rank", "a list", lambda: linalg.numerical_rank([[1.0, 2]]), ["list", "torch.as_tensor"]),
    ("linalg.svd", "NumPy's", lambda: linalg.svd(np.eye(2)), ["ndarray", "torch.as_tensor"]),
    ("linalg.energy", "integers", lambda: linalg.energy(torch.eye(2).long()), ["torch.int64", ".double()"]),
    ("linalg.stable_rank", "bf16", lambda: linalg.stable_rank(M.bfloat16()), ["torch.bfloat16", ".double()"]),
    ("linalg.projector_onto", "a vector", lambda: linalg.projector_onto(M[0]), ["shape (3,)", "v[:, None]"]),
    ("linalg.svd", "a batch", lambda: linalg.svd(M[None]), ["shape (1, 3, 3)", "a matrix"]),
    ("linalg.svd", "no rows", lambda: linalg.svd(M[:0]), ["shape (0, 3)", "a matrix"]),
    ("linalg.is_projector", "nan", lambda: linalg.is_projector(M * math.nan), ["no number", "expected finite"]),
    ("linalg.best_rank_k", "k = 0", lambda: linalg.best_rank_k(M, 0), ["k was 0", "from 1 to 3"]),
    ("linalg.best_rank_k", "k = 700", lambda: linalg.best_rank_k(M, 700), ["k was 700", "from 1 to 3"]),
    ("linalg.low_rank_factors", "k = 3", lambda: linalg.low_rank_factors(M[:2], 3), ["k was 3", "from 1 to 2"]),
    ("linalg.numerical_rank", "rtol = 1", lambda: linalg.numerical_rank(M, 1), ["rtol was 1", "such as 1e-6"]),
    ("linalg.numerical_rank", "rtol < 0", lambda: linalg.numerical_rank(M, -1e-6), ["rtol was -1e-06", "such as"]),
    ("linalg.rank_for_energy", "percent", lambda: linalg.rank_for_energy(M, 90), ["share was 90", "such as 0.9"]),
    ("linalg.rank_for_energy", "no share", lambda: linalg.rank_for_energy(M, 0), ["share was 0", "such as 0.9"]),
    ("linalg.effective_rank", "B A at the start", lambda: linalg.effective_rank(0 * M), ["is zero", "non-zero entry"]),
    ("linalg.principal_angles", "no .T", lambda: linalg.principal_angles(M, M[:2]), ["3 and 2 rows", "as many"]),
    ("llama.Llama", "no batch", lambda: ours()(torch.arange(4)), ["shape (4,)", "ids[None]"]),
    ("llama.generate", "no batch", lambda: llama.generate(ours(), torch.arange(4)), ["shape (4,)", "ids[None]"]),
    ("llama.Llama", "mask", lambda: ours()(torch.ones(1, 4).long(), M[:1]), ["shape (1, 3)", "expected (1, 4)"]),
    (
        "llama.Llama",
        "mask without what is cached",
        lambda: ours()(torch.ones(1, 1).long(), M[:1, :1], [{"k": torch.ones(1, 2, 4, 4)}]),
        ["shape (1, 1)", "expected (1, 5)"],
    ),
    ("llama.Llama", "cache = []", lambda: ours()(torch.ones(1, 4).long(), cache=[]), ["0 entries", "new_cache()"]),
    (
        "llama.generate",
        "padding on the right",
        lambda: llama.generate(ours(), torch.ones(1, 2).long(), torch.tensor([[1, 0]])),
        ["ends in padding", "pad on the left"],
    ),
    (
        "llama.Llama.from_state_dict",
        "two heads in one",
        lambda: llama.Llama.from_state_dict(tiny(tie_word_embeddings=True).config, tiny().state_dict()),
        ["lm_head.weight differs", "tie_word_embeddings=False"],
    ),
    ("lora.LoRALinear", "r = 0", lambda: lora.LoRALinear(nn.Linear(2, 2), r=0), ["r was 0", "such as 8"]),
    ("lora.inject", "r = 0", lambda: injected(r=0), ["r was 0", "such as 8"]),
    ("lora.inject", "r = 2.5", lambda: injected(r=2.5), ["r was 2.5", "such as 8"]),
    ("lora.inject", "a rank", lambda: injected(rank_pattern={"q_proj": -1}), ["r was -1", "such as 8"]),
    ("lora.inject", "dropout", lambda: injected(lora_dropout=1.5), ["1.5", "between 0 and 1"]),
    ("lora.LoRALinear", "embedding", lambda: lora.LoRALinear(nn.Embedding(2, 2)), ["Embedding", "expected"]),
    ("lora.LoRALinear", "a matrix", lambda: lora.LoRALinear(M), ["Tensor", "expected"]),
    ("lora.inject", "a wrong name", lambda: injected(target_modules=["qproj"]), ["['qproj'] names no", "'q_proj'"]),
    ("lora.inject", "no regex", lambda: injected(target_modules="q_proj"), ["'q_proj' names no", "['down_proj'"]),
    (
        "lora.inject",
        "a broken regex",
        lambda: injected(target_modules="("),
        ["correct '(', in target_modules", "unterminated"],
    ),
    ("lora.inject", "a block", lambda: injected(target_modules=["mlp"]), ["LlamaMLP", "leave it out"]),
    ("lora.inject", "table", lambda: injected(target_modules=["embed_tokens"]), ["Embedding", "leave it out"]),
    ("lora.inject", "Conv1D", lambda: injected(gpt2(), target_modules=["c_attn"]), ["Conv1D", "leave it out"]),
    ("lora.merge", "no LoRA", lambda: lora.merge(tiny()), ["LlamaForCausalLM has no", "call inject or load"]),
    ("lora.unmerge", "no LoRA", lambda: lora.unmerge(tiny()), ["LlamaForCausalLM has no", "call inject or load"]),
    ("lora.save", "no LoRA", lambda: lora.save(tiny(), "unused"), ["LlamaForCausalLM has no", "call inject or load"]),
    ("audit", "no model", lambda: audit([nn.Linear(2, 2)]), ["list", "pass the model itself"]),
    ("measure.fastest", "no times", lambda: measure.fastest({"work": list}, 0), ["times was 0", "at least 1"]),
    ("data.encode", "no pairs", lambda: data.encode(Letters(), []), ["no training pairs", "pass at least one Pair"]),
    ("data.encode", "a long pair", lambda: encoded(max_tokens=8), ["pair 2 has 48 tokens", "shorten it"]),
    ("train", "epochs = 0", lambda: trained(epochs=0), ["epochs was 0", "such as 3"]),
    ("train", "no pairs", lambda: trained(pairs=[]), ["no training pairs", "pass at least one Pair"]),
    (
        "train",
        "a frozen model",
        lambda: trained(tiny().requires_grad_(False)),
        ["nothing to train", "is_trainable=True"],
    ),
    ("train", "resume", lambda: trained(resume=True), ["got None", "needs the output_dir"]),
    ("train", "keep_best", lambda: trained(keep_best=True), ["keep_best", "give held_out="]),
    ("train", "save_steps", lambda: trained(save_steps=2), ["save_steps=2", "give output_dir="]),
    ("train", "held_out_steps", lambda: trained(held_out_steps=2), ["held_out_steps", "give held_out="]),
    ("load_base_model", "no name", lambda: basemodel.load_base_model("./no where"), ["no where", "correct the name"]),
    ("load_tokenizer", "three parts", lambda: basemodel.load_tokenizer("a/b/c"), ["a/b/c", "correct the name"]),
]


@pytest.mark.parametrize(("call", "parts"), [row[2:] for row in INVITED], ids=[", ".join(row[:2]) for row in INVITED])
def test_a_bad_argument_is_answered_with_what_was_given_and_what_to_do(call, parts):
    with pytest.raises((ValueError, TypeError, OSError)) as refused:
        call()
    said = str(refused.value)
    assert all(part in said for part in parts), said
    assert len(said) < 700


LINES = [  # a line of a file of pairs, and what is said of it
    ('{"prompt": "a"}', '"completion" must be a non-empty string, got None'),
    ('{"prompt": "", "completion": "b"}', '"prompt" must be a non-empty string'),
    ('{"prompt": "a", "completion": 3}', "got 3"),
    ('{"prompt": "a", "completion": "b", "answer": "c"}', "unknown field 'answer'"),
    ('["a", "b"]', "a JSON object was expected, got list"),
    ("prompt,completion", "not JSON"),
]


@pytest.mark.parametrize(("line", "message"), LINES)
def test_a_bad_line_of_pairs_is_named_with_its_number(tmp_path, line, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(PAIRS[0]._asdict()) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        data.load_pairs(path)
    assert "line 2: " in str(refused.value) and message in str(refused.value)
