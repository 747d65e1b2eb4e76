"""Operations, kept memory and calls against what can be counted by hand."""

import time

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


def test_cpu_seconds_do_not_count_waiting():
    assert measure.cpu_seconds(lambda: time.sleep(0.2), times=1) < 0.1
    assert measure.cpu_seconds(lambda: sum(range(1_000_000)), times=3) > 0


@pytest.mark.parametrize("times", [0, -1])
def test_cpu_seconds_refuse_to_measure_nothing(times):
    with pytest.raises(ValueError, match=f"times was {times}"):
        measure.cpu_seconds(lambda: None, times=times)
