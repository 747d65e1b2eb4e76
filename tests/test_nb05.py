"""Notebook 05: its build takes every right Llama and says what is wrong with others."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lorautils.exercises import nb05 as asked
from lorautils.figures import nb05
from lorautils.figures.words import alt_text

DRAWINGS = {"mlp": lambda: nb05.mlp(576, 1536), "stream": lambda: nb05.stream(576, 30)}


def test_a_removed_part_that_helps_is_drawn_below_zero():
    (axes,) = nb05.removed({"attention": [[0.2, -0.05]], "MLP": [[9.6, 0.01]]}).axes
    drawn = [value for line in axes.lines for value in line.get_ydata()]
    plt.close("all")
    assert {0.2, -0.05, 9.6, 0.01} <= set(drawn) and axes.get_ylim()[0] < -0.05


def test_a_histogram_says_in_words_how_much_lies_outside_of_the_band():
    axes = nb05.histogram(np.array([-0.2, 0.5, 0.5, 3.0]), band=(0, 1), band_label="0 to 1", xlabel="gate", title="a")
    told = alt_text(axes.figure)
    plt.close("all")
    assert "from -0.20 to 3.0; 25% lie below the band 0 to 1, 25.0% above it" in told


SIZES = {"vocab_size": 31, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}


@pytest.mark.parametrize("heads", [(4, 2), (4, 4), (2, 1)], ids=str)
def test_the_solution_gives_the_logits_of_transformers(heads):
    torch.manual_seed(0)
    config = LlamaConfig(
        **SIZES, num_attention_heads=heads[0], num_key_value_heads=heads[1], rms_norm_eps=0.1, tie_word_embeddings=True
    )
    theirs = LlamaForCausalLM(config).eval()
    ids = torch.randint(31, (2, 9))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-0.4, 0.4)
        ours = asked.with_weights(asked.Llama, config, theirs.state_dict())
        assert torch.allclose(ours(ids), theirs(ids).logits, atol=1e-4)


def test_the_solution_writes_what_transformers_writes():
    (prompt, tokens) = asked.llama.llama.cases[-1].arguments
    ids = asked.load_tokenizer()(prompt, return_tensors="pt")["input_ids"]
    theirs = asked._base().generate(ids, max_new_tokens=tokens, do_sample=False, eos_token_id=None)
    assert asked._greedy(asked.Llama, prompt, tokens) == theirs[0].tolist()


STEPS = asked.llama.steps[-4:]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_no_case_only_raises(step):
    for case in (case for case in step.cases if isinstance(case.arguments[0], torch.Tensor)):
        assert torch.tensor(case.observe(step.reference)[0]).isfinite().all(), case.name


class MyNorm(nn.Module):
    """Right, and written in another way."""

    def __init__(self, config):
        super().__init__()
        self.weight, self.config = nn.Parameter(torch.zeros(config.hidden_size)), config

    def forward(self, x):
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.config.rms_norm_eps)


class NamedOtherwise(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(config.hidden_size))


class Narrow(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


class Shifted(asked.RMSNorm):
    def __init__(self, config):
        super().__init__(config)
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (MyNorm, "stands."),
        (NamedOtherwise, "no weight is called 'weight', as in transformers; yours are scale"),
        (Narrow, "weight has shape (1,), expected (2,)"),
        (Shifted, "transformers has no weight 'bias' there; expected are weight"),
        (lambda config: None, "raises AttributeError"),
    ],
)
def test_an_answer_is_told_what_its_parameters_lack(answer, told):
    assert told in asked.llama.rms_norm._judge(answer, lambda error: "").text


def in_one_line(x, gate, up, down):
    return nn.functional.silu(x @ gate.T) * (x @ up.T) @ down.T


@pytest.mark.parametrize("kept", [[0, 2], [2, 0], [1]], ids=str)
def test_features_that_are_kept_give_what_the_others_leave(kept):
    torch.manual_seed(0)
    gate, up, down, x = torch.randn(3, 4), torch.randn(3, 4), torch.randn(4, 3), torch.randn(5, 4)
    silent = torch.zeros_like(down)
    silent[:, kept] = down[:, kept]
    narrower = asked.keep_features.reference(gate, up, down, kept)
    assert torch.allclose(in_one_line(x, *narrower), in_one_line(x, gate, up, silent), atol=1e-5)


def test_a_folded_norm_gives_the_same_mlp():
    torch.manual_seed(0)
    gate, up, down, x, weight = (torch.randn(*shape) for shape in ((3, 4), (3, 4), (4, 3), (5, 4), (4,)))
    folded = asked.fold_norm.reference(weight, gate, up)
    assert torch.allclose(in_one_line(x, *folded, down), in_one_line(x * weight, gate, up, down), atol=1e-5)


def test_a_head_that_is_not_tied_is_named():
    class Llama(asked.Llama):
        def __init__(self, config):
            super().__init__(config)
            self.lm_head.weight = nn.Parameter(self.lm_head.weight.detach().clone())

    assert "lm_head.weight is a tensor of its own: tie it" in asked.llama.llama._judge(Llama, lambda error: "").text


def test_a_bare_tensor_as_weight_is_told_what_to_wrap_it_in():
    class RMSNorm(asked.RMSNorm):
        def __init__(self, config):
            nn.Module.__init__(self)
            self.weight, self.eps = torch.ones(config.hidden_size), config.rms_norm_eps

    told = asked.llama.rms_norm._judge(RMSNorm, lambda error: "").text
    assert "yours are none: wrap a tensor in nn.Parameter" in told
