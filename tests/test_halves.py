"""Two halves of a batch side by side: the loss and the gradients of the whole, whatever the threads do."""

import sys

import pytest
import torch
from test_fused import adapted, batch, gpt2, padded_batch, tiny, trained
from torch.testing import assert_close

from lorautils.data import IGNORED
from lorautils.lora import PROJECTIONS
from lorautils.scaling import fused as halves
from lorautils.scaling.fused import fused, loss_of_fewer_rows
from lorautils.scaling.fused import loss as fused_loss


def found(model, summed_loss, inputs) -> dict[str, torch.Tensor]:
    """The loss and its gradients, with the loss divided as `compute_loss` divides it."""
    model.zero_grad()
    loss = summed_loss(model, inputs) / 7
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return gradients | {"loss": loss.detach()}


def with_threads(count, function):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return function()
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def quick_switching():
    """Threads that take turns so often that what they should not share is seen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("targets", [PROJECTIONS, ["q_proj", "v_proj"]])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_without_dropout_the_halves_make_the_whole(rows, targets, threads):
    model, inputs = adapted(tiny(), targets), batch(rows=rows)
    with fused(model):
        whole = found(model, loss_of_fewer_rows, inputs)
    with fused_loss(model) as loss:
        assert loss is not loss_of_fewer_rows
        parts = with_threads(threads, lambda: found(model, loss, inputs))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert_close(parts[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_padded_rows_and_rows_without_answers():
    model, inputs = adapted(tiny()), padded_batch()
    inputs["labels"][1::2] = IGNORED  # one half is without answers
    with fused(model):
        whole = found(model, loss_of_fewer_rows, inputs)
    with fused_loss(model) as loss:
        parts = found(model, loss, inputs)
    for name, value in whole.items():
        assert_close(parts[name], value, rtol=1e-4, atol=1e-6)


def test_dropout_follows_the_seed_and_not_the_threads(quick_switching):
    model, inputs = adapted(tiny(), lora_dropout=0.5), batch(rows=8)

    def drawn():
        torch.manual_seed(3)
        return found(model, loss, inputs)

    with fused_loss(model) as loss:
        first = with_threads(1, drawn)
        for _ in range(20):
            again = with_threads(2, drawn)
            assert all(torch.equal(value, again[name]) for name, value in first.items())
        torch.manual_seed(4)
        assert not torch.equal(found(model, loss, inputs)["loss"], first["loss"])


def test_the_halves_drop_apart_from_each_other_and_from_the_step_before(monkeypatch):
    masks = []
    real = halves.draw_mask
    monkeypatch.setattr(halves, "draw_mask", lambda *given: masks.append(real(*given)) or masks[-1])
    model = adapted(tiny(), ["q_proj"], lora_dropout=0.5)
    with fused_loss(model) as loss:
        for _ in range(2):
            found(model, loss, batch(rows=2))
    seen = {tuple(mask.flatten().tolist()) for mask, _ in masks}
    assert len(seen) == len(masks) == 8  # two steps of two halves of two layers


def test_dropout_does_on_average_what_it_does_to_the_whole_batch():
    model, inputs = adapted(tiny(), ["v_proj"], lora_dropout=0.3), batch(rows=4)
    name = next(name for name, _ in model.named_parameters() if "layers.1" in name and "lora_B" in name)
    draws = {}
    for asked in (True, False):
        torch.manual_seed(0)
        with fused_loss(model, halves=asked) as loss:
            draws[asked] = torch.stack([found(model, loss, inputs)[name] for _ in range(200)])
    scatter = sum(draw.var(0) / len(draw) for draw in draws.values()).sqrt()
    assert ((draws[True].mean(0) - draws[False].mean(0)).abs() < 5 * scatter).all()
    assert_close(draws[True].std(0).mean(), draws[False].std(0).mean(), rtol=0.1, atol=0)


def attention_with_dropout():
    return adapted(tiny(attention_dropout=0.1))


def with_dora():
    return adapted(tiny(), ["q_proj"], use_dora=True)


@pytest.mark.parametrize("build", [gpt2, attention_with_dropout, with_dora, tiny])
def test_where_halves_are_not_possible_the_whole_batch_is_computed(build):
    with fused_loss(build()) as loss:
        assert loss is loss_of_fewer_rows


def test_halves_can_be_declined():
    with fused_loss(adapted(tiny()), halves=False) as loss:
        assert loss is loss_of_fewer_rows


@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"gradient_checkpointing": True}])
def test_training_declines_them_where_they_would_be_wrong(monkeypatch, options):
    seen = []
    real = halves.loss_in_halves
    monkeypatch.setattr(halves, "loss_in_halves", lambda *given: seen.append(1) or real(*given))
    losses, _ = trained(adapted(tiny(vocab_size=49152)), epochs=1, loss=fused_loss, **options)
    assert len(losses) == 2 and len(seen) == (0 if options else 2)


def test_threads_parameters_and_layers_are_as_before():
    model, threads = adapted(tiny(), lora_dropout=0.1), torch.get_num_threads()
    names = {name: id(p) for name, p in model.named_parameters()}
    with fused_loss(model) as loss:
        found(model, loss, batch())
        assert torch.get_num_threads() == threads
    assert {name: id(p) for name, p in model.named_parameters()} == names
    assert not any("forward" in vars(module) for module in model.modules())


def test_an_error_in_a_half_is_raised_and_everything_put_back():
    model, inputs, threads = adapted(tiny()), batch(rows=4), torch.get_num_threads()
    inputs["input_ids"][1, 0] = 5000  # no such token
    with pytest.raises(IndexError), fused_loss(model) as loss:
        loss(model, inputs)
    assert torch.get_num_threads() == threads
    assert not any("forward" in vars(module) for module in model.modules())


def test_the_twin_shares_every_number():
    model = adapted(tiny())
    twin = halves.twin_of(model)
    assert [id(p) for p in twin.parameters()] == [id(p) for p in model.parameters()]
    assert [id(b) for b in twin.buffers()] == [id(b) for b in model.buffers()]
    assert not {id(m) for m in twin.modules()} & {id(m) for m in model.modules()}


def test_evaluation_in_between_is_followed_by_both():
    model, inputs = adapted(tiny(), lora_dropout=0.5), batch(rows=4)
    with fused_loss(model) as loss:
        model.eval()
        quiet = [found(model, loss, inputs)["loss"] for _ in range(2)]
        model.train()
        noisy = [found(model, loss, inputs)["loss"] for _ in range(2)]
    assert torch.equal(*quiet) and not torch.equal(*noisy)


def test_a_model_that_computes_layers_again_is_not_halved():
    model = adapted(tiny(), PROJECTIONS)
    assert halves.can_be_halved(model) and not halves.computes_otherwise(model)
    model.gradient_checkpointing_enable()
    assert halves.computes_otherwise(model)


def test_bf16_autocast_around_a_model_is_seen_after_the_loss_was_entered():
    model = adapted(tiny(), PROJECTIONS)
    with fused_loss(model) as loss:
        assert not halves.computes_otherwise(model)
        model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # as accelerate wraps it
        assert halves.computes_otherwise(model)
        assert loss(model, batch(rows=4)).isfinite()
