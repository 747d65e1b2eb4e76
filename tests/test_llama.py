"""Our Llama beside that of transformers: the same logits and text, on small random models and on the real one."""

import copy

import pytest
import torch
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config

from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.llama import MLP, Attention, Llama, RMSNorm, causal_mask, generate, rotary_cos_sin

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}
VARIANTS = {
    "grouped": {},
    "multi-head": {"num_key_value_heads": 4},
    "multi-query": {"num_key_value_heads": 1},
    "one head": {"num_attention_heads": 1, "num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "attention bias": {"attention_bias": True},
    "MLP bias": {"mlp_bias": True},
    "all biases, tied": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "wide heads": {"head_dim": 20},
    "narrow heads": {"head_dim": 2, "num_key_value_heads": 4},
    "odd sizes": {
        "hidden_size": 30,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "intermediate_size": 7,
        "head_dim": 4,
    },
    "large eps": {"rms_norm_eps": 0.1},
    "small theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 10.0}},
    "one layer": {"num_hidden_layers": 1},
    "five layers": {"num_hidden_layers": 5},
}


def random_model(config_class=LlamaConfig, model_class=LlamaForCausalLM, **fields):
    """A model of transformers with every parameter random: norms and biases too, which it starts at one and zero."""
    torch.manual_seed(0)
    model = model_class(config_class(**SMALL | fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.4, 0.4)
    return model


def ours_of(model):
    return Llama.from_state_dict(model.config, model.state_dict())


def some_ids(batch, tokens, vocabulary=SMALL["vocab_size"]):
    return torch.randint(vocabulary, (batch, tokens), generator=torch.Generator().manual_seed(1))


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def pair(request):
    theirs = random_model(**request.param)
    return ours_of(theirs), theirs


# Small random models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 2, 17])
@torch.inference_mode()
def test_the_logits_are_those_of_transformers(pair, tokens):
    ours, theirs = pair
    ids = some_ids(3, tokens)
    expected = theirs(ids).logits
    assert expected.std() > 0.1, "logits near zero would agree whatever is computed"
    close(ours(ids), expected)


@torch.inference_mode()
def test_a_cache_changes_nothing(pair):
    ours, theirs = pair
    ids = some_ids(2, 12)
    cache = ours.new_cache()
    pieces = [ours(piece, cache=cache) for piece in ids.split([5, 1, 1, 4, 1], dim=1)]
    close(torch.cat(pieces, dim=1), theirs(ids).logits)
    head_dim = theirs.config.head_dim
    assert cache[-1]["k"].shape == (2, theirs.config.num_key_value_heads, 12, head_dim)


@torch.inference_mode()
def test_padding_on_the_left_changes_nothing(pair):
    ours, theirs = pair
    ids = some_ids(3, 9)
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    mask[2, :8] = 0
    logits = ours(ids, mask)
    real = mask.bool()
    close(logits[real], theirs(ids, attention_mask=mask).logits[real])
    shifted = (mask.cumsum(dim=1) - 1).clamp(min=0)  # as `generate` of transformers counts: from the first real token
    close(logits[real], theirs(ids, attention_mask=mask, position_ids=shifted).logits[real])
    for row, padding in ((1, 4), (2, 8)):
        close(logits[row, padding:], ours(ids[row : row + 1, padding:])[0])
    cache = ours.new_cache()
    ends = (3, 4, 8, 9)  # row 2 is all padding until the last piece
    pieces = [ours(ids[:, a:b], mask[:, :b], cache) for a, b in zip((0, *ends), ends, strict=False)]
    close(torch.cat(pieces, dim=1)[real], logits[real])


def test_the_greedy_text_is_that_of_transformers(pair):
    ours, theirs = pair
    ids = some_ids(3, 6)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(generate(ours, ids, mask, 12), theirs.generate(ids, attention_mask=mask, **options))


def test_a_row_that_has_ended_is_filled_up():
    theirs = random_model()
    ours, ids = ours_of(theirs), some_ids(2, 5)
    stop = generate(ours, ids, max_new_tokens=3)[0, -1].item()  # what the first row says third
    options = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": stop, "pad_token_id": stop}
    text = generate(ours, ids, max_new_tokens=40, eos_token_id=stop)
    assert torch.equal(text, theirs.generate(ids, attention_mask=torch.ones_like(ids), **options))
    assert generate(ours, ids[:1], max_new_tokens=40, eos_token_id=stop).shape == (1, 8)


@torch.inference_mode()
def test_mistral_without_its_window_is_a_llama():
    theirs = random_model(MistralConfig, MistralForCausalLM, sliding_window=None, head_dim=10)
    close(ours_of(theirs)(some_ids(2, 9)), theirs(some_ids(2, 9)).logits)


# Half precision rounds ours and theirs at other places: 0.0028 and 0.0005 were measured.
@pytest.mark.parametrize(("dtype", "atol"), [(torch.bfloat16, 0.02), (torch.float16, 0.003), (torch.float64, 1e-5)])
@torch.inference_mode()
def test_the_numbers_keep_the_type_of_the_checkpoint(dtype, atol):
    theirs = random_model(num_hidden_layers=1).to(dtype)
    logits = ours_of(theirs)(some_ids(2, 9))
    assert logits.dtype == dtype
    torch.testing.assert_close(logits, theirs(some_ids(2, 9)).logits, rtol=0, atol=atol)


def test_every_step_runs_on_the_device_of_the_ids():
    ours = ours_of(random_model()).to("meta")  # an operation between two devices raises
    ids = some_ids(2, 5).to("meta")
    assert ours(ids, torch.ones_like(ids), ours.new_cache()).device.type == "meta"


@torch.inference_mode()
def test_the_parts_take_the_weights_of_theirs():
    theirs = random_model(attention_bias=True, mlp_bias=True)
    layer, x = theirs.model.layers[0], torch.randn(2, 7, SMALL["hidden_size"])
    cos, sin = theirs.model.rotary_emb(x, torch.arange(7)[None])
    ours_cos, ours_sin = rotary_cos_sin(torch.arange(7), 8, theirs.config.rope_parameters["rope_theta"])
    close(torch.cat([ours_cos, ours_cos], dim=-1), cos[0])
    parts = {
        "self_attn": (Attention(theirs.config), lambda part: part(x, ours_cos, ours_sin, causal_mask(7))),
        "mlp": (MLP(theirs.config), lambda part: part(x)),
        "input_layernorm": (RMSNorm(SMALL["hidden_size"], theirs.config.rms_norm_eps), lambda part: part(x)),
    }
    visible = torch.zeros(7, 7).masked_fill(torch.ones(7, 7).triu(1).bool(), float("-inf"))[None, None]
    expected = {
        "self_attn": layer.self_attn(x, position_embeddings=(cos, sin), attention_mask=visible)[0],
        "mlp": layer.mlp(x),
        "input_layernorm": layer.input_layernorm(x),
    }
    for name, (part, run) in parts.items():
        part.load_state_dict(getattr(layer, name).state_dict())
        close(run(part), expected[name])


# What it trains, saves and loads -------------------------------------------------------------------------------------


def test_the_gradients_are_those_of_transformers():
    theirs = random_model(tie_word_embeddings=True, attention_bias=True)
    ours, ids = ours_of(copy.deepcopy(theirs)), some_ids(2, 8)
    ours(ids).square().mean().backward()
    theirs(ids).logits.square().mean().backward()
    expected = dict(theirs.named_parameters())
    assert {name for name, _ in ours.named_parameters()} == expected.keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5, msg=name)


def test_a_file_with_one_copy_of_tied_weights_loads(tmp_path):
    from safetensors.torch import load_file

    theirs = random_model(tie_word_embeddings=True)
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in weights
    ours = Llama.from_state_dict(LlamaConfig.from_pretrained(tmp_path), weights)
    assert ours.lm_head.weight is ours.model.embed_tokens.weight
    close(ours(some_ids(2, 5)), theirs(some_ids(2, 5)).logits)


def test_the_weights_are_shared_not_copied():
    theirs = random_model()
    assert ours_of(theirs).model.norm.weight.data_ptr() == theirs.model.norm.weight.data_ptr()


def test_the_frequencies_that_old_checkpoints_store_are_ignored():
    theirs = random_model()
    weights = theirs.state_dict() | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    Llama.from_state_dict(theirs.config, weights)


# What it refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
            "rope_type = 'linear'",
        ),
        (
            LlamaConfig(
                rope_parameters={
                    "rope_type": "llama3",
                    "rope_theta": 5e5,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                }
            ),
            "rope_type = 'llama3'",
        ),
        (LlamaConfig(hidden_act="gelu"), "hidden_act = 'gelu'"),
        (MistralConfig(sliding_window=4096), "sliding_window = 4096"),
        (LlamaConfig(num_attention_heads=32, num_key_value_heads=5), "num_attention_heads = 32 must be a multiple of"),
        (Qwen2Config(), "model_type = 'qwen2'"),
        (GPT2Config(), "model_type = 'gpt2'"),
    ],
    ids=lambda value: None if isinstance(value, str) else value.model_type,
)
def test_what_it_does_not_implement_is_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        Llama.from_state_dict(config, {})


def drop(weights):
    del weights["model.layers.1.mlp.up_proj.weight"]


def add(weights):
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(32)


def cut(weights):
    weights["model.norm.weight"] = torch.ones(31)


@pytest.mark.parametrize(
    ("damage", "named"), [(drop, "layers.1.mlp.up_proj"), (add, "layers.0.self_attn.q_proj.bias"), (cut, "model.norm")]
)
def test_weights_of_another_model_are_refused_by_name(damage, named):
    theirs = random_model()
    weights = theirs.state_dict()
    damage(weights)
    with pytest.raises(RuntimeError, match=rf"(?s)loading state_dict for Llama.*{named}"):
        Llama.from_state_dict(theirs.config, weights)


# The real model ------------------------------------------------------------------------------------------------------

# Greedy text hangs on which logit is the largest. Ours and theirs differ by about 5e-5; along these texts the two
# largest are at least 0.027 apart (measured), so that no machine's rounding can part them.
PROMPTS = [
    "1, 2, 3, 4, 5,",
    "for i in range(10):",
    "The recipe needs two eggs, a cup of flour and",
    "The first ten prime numbers are",
    "She opened the door and",
    "The most important thing in life is",
    "In 1969, the first man",
    "To make a good cup of tea, you",
    "Dear Sir or Madam,",
    "Roses are red, violets are",
]


@pytest.fixture(scope="module")
def real():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LORAUTILS_MODEL", raising=False)
        theirs = load_base_model()
        tokenizer = load_tokenizer()
    tokenizer.padding_side = "left"
    return ours_of(theirs), theirs, tokenizer


@torch.inference_mode()
def test_the_real_logits_are_those_of_transformers(real):
    ours, theirs, tokenizer = real
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    seen = batch["attention_mask"].bool()
    expected = theirs(**batch).logits[seen]
    logits = ours(batch["input_ids"], batch["attention_mask"])[seen]
    # Rounding of thirty layers, in logits of up to 30: 5e-5 was measured.
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=2e-4)


@torch.inference_mode()
def test_the_real_texts_are_those_of_transformers(real):
    ours, theirs, tokenizer = real
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    texts = generate(ours, batch["input_ids"], batch["attention_mask"], max_new_tokens=30)
    mask = torch.cat([batch["attention_mask"], torch.ones(10, 30, dtype=torch.long)], dim=1)
    # One pass over the finished texts: if each token is theirs, given those before it, so is the text that they would
    # generate. It takes a third of the time of generating.
    choices = theirs(texts, attention_mask=mask, logits_to_keep=31).logits[:, :-1].topk(2)
    margin = (choices.values[..., 0] - choices.values[..., 1]).min()
    assert margin > 0.01, f"two tokens are only {margin:.1e} apart, a near-tie: choose another prompt"
    assert tokenizer.batch_decode(texts[:, -30:]) == tokenizer.batch_decode(choices.indices[..., 0])
    assert torch.equal(texts[:, -30:], choices.indices[..., 0])
