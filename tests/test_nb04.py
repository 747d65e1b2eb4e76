"""Notebook 04: its drawings are to scale; its attention is the model's; the symptoms that it asks about are true."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lorautils.exercises import nb04 as asked
from lorautils.figures import nb04
from lorautils.figures.words import alt_text
from lorautils.llama import rotary_cos_sin

GRIDS = {name: np.eye(6)[:, :4] for name in ("X", "Q", "K", "V")} | {"weights": np.eye(6), "output": np.eye(6)[:, :4]}
TOKENS = ["The", "capital", "of", "France", "is", "Paris"]
DRAWINGS = {
    "steps": lambda: nb04.steps(GRIDS, TOKENS),
    "stripes": lambda: nb04.head_stripes(heads=9, kv_heads=3, head_dim=64, hidden=576),
    "hands": lambda: nb04.hands(
        {f"start at {start}: score -4": {"q Paris": (0, 2), "k France": (1, -2)} for start in (0, 1, 2)}
    ),
    "induction": lambda: nb04.induction("is", "Paris", heads=("16.0", "18.6")),
}


def test_stripes_are_to_scale_and_a_group_has_one_colour():
    (axes,) = DRAWINGS["stripes"]().axes
    stripes = [patch for patch in axes.patches if type(patch).__name__ == "Rectangle"]
    areas = [patch.get_width() * patch.get_height() for patch in stripes]
    assert len(stripes) == 9 + 3 + 3 + 9 and areas == pytest.approx([areas[0]] * 24)
    colours = [patch.get_facecolor() for patch in stripes]
    assert colours[:9] == [colour for colour in colours[9:12] for _ in range(3)] == colours[15:]


def test_hidden_cells_are_hatched_and_hold_no_number():
    weights = np.tril(np.full((3, 3), 0.5))
    shown, full = nb04.attention_maps({"masked": weights, "full": weights + 0.1}, "abc", numbers=True).axes[:2]
    assert [len(axes.texts) for axes in (shown, full)] == [6, 9]
    assert [len(axes.patches) for axes in (shown, full)] == [1, 0]
    plt.close("all")


def test_a_map_says_in_words_where_the_largest_weights_lie():
    told = alt_text(nb04.attention_maps({"head 1": [[0.9, 0.1], [0.7, 0.3]]}, ["a", " b"]))
    plt.close("all")
    assert told.endswith("head 1: “a” to “a” 0.90, “b” to “a” 0.70.")


# --- the learner's attention ------------------------------------------------------------------------------------------


def test_the_written_attention_equals_that_of_transformers():
    original, config, x = asked._real(10)
    cos, sin = rotary_cos_sin(torch.arange(x.shape[1]), config.head_dim, config.rope_parameters["rope_theta"])
    both = torch.cat([cos, cos], dim=-1)[None], torch.cat([sin, sin], dim=-1)[None]
    with torch.no_grad():
        wanted = original(x, position_embeddings=both, attention_mask=None)[0]
    torch.testing.assert_close(asked._in_the_model(asked.Attention, 10), wanted, atol=1e-4, rtol=1e-4)


def wrong(step, name: str):
    return next(mistake.answer for mistake in step.mistakes if mistake.name == name)


def test_the_symptoms_of_the_four_bugs_are_true(monkeypatch):
    original, config, x = asked._real(10)
    right = asked.Attention(config)
    bugs = {"mask": "no mask", "softmax": "mask after softmax", "groups": "KV heads tiled"}
    made = {part: wrong(asked.llama.attention, bug)(config) for part, bug in bugs.items()}
    for layer in (right, *made.values()):
        layer.load_state_dict(original.state_dict())
    with torch.no_grad():
        wanted = right(x)[0]
        with monkeypatch.context() as patched:
            patched.setattr(asked, "rope", wrong(asked.llama.rope, "neighbours as pairs"))
            torch.testing.assert_close(right(x)[0, 0], wanted[0])
            assert ((right(x)[0] - wanted)[1:].norm(dim=1) > 0.01 * wanted[1:].norm(dim=1)).all()
        for layer in (right, *made.values()):
            layer.o_proj.weight.copy_(torch.eye(576))  # what the heads bring, side by side
        alone, followed = (
            {part: layer(x[:, :n])[0, 0].unflatten(0, (9, 64)) for part, layer in made.items()} for n in (1, 2)
        )
        brought = right(x)[0].unflatten(1, (9, 64))  # (tokens, heads, head_dim)
        different = (brought - made["groups"](x)[0].unflatten(1, (9, 64))).abs().amax(2) > 1e-4
    cosine = {part: torch.cosine_similarity(alone[part], followed[part], dim=1) for part in made}
    shorter = followed["softmax"].norm(dim=1) / alone["softmax"].norm(dim=1)
    assert cosine["mask"].min() < 0.9 and cosine["softmax"].min() > 0.9999 and shorter.max() < 1
    torch.testing.assert_close(alone["softmax"], brought[0])
    torch.testing.assert_close(alone["groups"], followed["groups"])
    assert different.tolist() == [[head not in (0, 4, 8) for head in range(9)]] * len(different)


def test_a_fault_that_shows_only_at_the_models_size_is_found_in_rope():
    def rope(x, theta):
        tokens, head_dim = x.shape[-2:]
        angles = torch.arange(tokens)[:, None] * theta ** -(torch.arange(0, head_dim, 2) / min(head_dim, 4))
        first, second = x.chunk(2, dim=-1)
        turned = first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()
        return torch.cat(turned, dim=-1)

    assert "64 features" in asked.llama.rope._judge(rope, lambda error: "").text
    in_float64 = asked.llama.rope._judge(lambda x, theta: asked.rope(x.double(), theta), lambda error: "").text
    assert "gives torch.float64 for torch.float32" in in_float64


def test_a_bias_is_named():
    class Attention(asked.Attention):
        def __init__(self, config):
            super().__init__(config)
            self.q_proj = torch.nn.Linear(self.q_proj.in_features, self.q_proj.out_features)

    told = asked.llama.attention._judge(Attention, lambda error: "").text
    assert "transformers has no weight 'q_proj.bias' there; expected are q_proj.weight" in told
