"""Operations, kept memory and calls against what can be counted by hand."""

import weakref

import pytest
import torch
from torch import nn

from lorautils import measure

TOKENS, IN, OUT = 5, 7, 3


@pytest.fixture
def layer():
    return nn.Linear(IN, OUT, bias=False)


def test_flops_of_a_linear_layer(layer):
    x = torch.ones(TOKENS, IN, requires_grad=True)
    product = 2 * TOKENS * IN * OUT
    assert measure.flops(lambda: layer(x).sum()) == (product, 2 * product)
    assert measure.flops(lambda: layer(x.detach()).sum()) == (product, product)  # nobody asks for dX
    layer.requires_grad_(False)
    assert measure.flops(lambda: layer(x).sum()) == (product, product)  # nor for dW


def test_kept_bytes_keeps_nothing_itself(layer):
    freed, x = [], torch.ones(TOKENS, IN)

    def forward():
        y = layer(x).exp()  # its own node keeps it: a circle, if the very tensor is handed on
        weakref.finalize(y.untyped_storage(), freed.append, True)
        return y.sum()

    measure.kept_bytes(layer, forward)
    assert freed == [True]


def test_kept_bytes_are_those_of_the_input_and_not_of_the_weight(layer):
    x = torch.ones(TOKENS, IN, requires_grad=True)
    assert measure.kept_bytes(layer, lambda: layer(x).sum()) == 4 * TOKENS * IN
    assert measure.kept_bytes(layer, lambda: (layer(x) + layer(x)).sum()) == 4 * TOKENS * IN  # kept twice, stored once
    layer.requires_grad_(False)
    assert measure.kept_bytes(layer, lambda: layer(x).sum()) == 0


def test_linear_calls_count_each_call_and_leave_no_hook(layer):
    model = nn.Sequential(layer, nn.Tanh(), nn.Linear(OUT, IN), layer)
    assert measure.linear_calls(lambda: model(torch.ones(1, IN))) == 3
    with pytest.raises(ZeroDivisionError):
        measure.linear_calls(lambda: 1 / 0)
    assert measure.linear_calls(lambda: None) == 0
    assert not nn.modules.module._global_forward_hooks


def test_fastest_takes_turns_and_keeps_the_shortest(monkeypatch):
    clock = iter([0.0, 5.0, 5.0, 7.0, 7.0, 10.0, 10.0, 14.0])  # first: 5 and 3 seconds, second: 2 and 4
    monkeypatch.setattr(measure, "perf_counter", lambda: next(clock))
    ran = []
    works = {"first": lambda: ran.append(1), "second": lambda: ran.append(2)}
    assert measure.fastest(works, times=2) == {"first": 3.0, "second": 2.0}
    assert ran == [1, 2, 1, 2]


def test_kernels_are_counted_forward_and_backward_without_views():
    x, weight = torch.ones(3, 4), torch.ones(5, 4, requires_grad=True)
    found = measure.kernels(lambda: (x @ weight.T).relu().sum().backward())
    assert found["mm"][0] == 2 and found["relu"][0] == 1 and found["threshold_backward"][0] == 1
    assert not {"t", "transpose", "expand"} & found.keys()
    assert all(seconds > 0 for _, seconds in found.values())


def test_the_probe_measures_the_precision_that_it_is_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "ones", lambda *shape, dtype: seen.append(dtype) or torch.zeros(*shape, dtype=dtype))
    assert measure.gigaflops(torch.float32, seconds=0.01) > 0
    assert seen == [torch.float32] * 2
