"""The two halves of a batch side by side, each on half of the cores.

A product of large matrices keeps two cores busy. The thousands of small kernels between the products do not: each one
would have to wake the other core first. With half of the rows for each core, no kernel waits for another. Notebook 11
measures what that is worth.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lorautils.fused import GENERATOR, fused, is_llama_on_cpu, loss_of_fewer_rows, obstacle

Loss = Callable[[nn.Module, dict[str, Tensor]], Tensor]


@contextmanager
def fused_loss(model: nn.Module, *, shared_masks: bool = True, halves: bool = True) -> Iterator[Loss]:
    """Fuse the LoRA layers of a PEFT model, and yield the loss that computes fastest with them.

    It is called as loss(model, batch), with a batch as `training.collate` makes it, and returns the sum of the answer
    tokens' cross-entropies, like `fused.loss_of_fewer_rows`. That function itself is yielded where the halves of a
    batch cannot be computed side by side: on a GPU, in another model than a Llama, with a layer that is not fused, or
    without `halves`, which gradient checkpointing, autocast and several processes need.
    """
    if not (halves and can_be_halved(model)):
        with fused(model, shared_masks=shared_masks):
            yield loss_of_fewer_rows
        return
    twin = twin_of(model)
    workers = min(2, torch.get_num_threads())
    both = fused(model, shared_masks=shared_masks), fused(twin, shared_masks=shared_masks)
    with both[0], both[1], ThreadPoolExecutor(workers) as pool:
        yield lambda _, batch: loss_in_halves(pool, (model, twin), batch)


def can_be_halved(model: nn.Module) -> bool:
    """Say whether nothing in a model draws random numbers but fused LoRA layers, whose masks each half seeds itself.

    A layer that is computed again for the backward pass would draw other masks the second time.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    fusible = bool(layers) and not any(obstacle(layer) for layer in layers)
    computed_again = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    return fusible and is_llama_on_cpu(model) and model.config.attention_dropout == 0 and not computed_again


def twin_of(model: nn.Module) -> nn.Module:
    """Return a copy of a model that shares its parameters and buffers, so that both can compute at once."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


class _KnownGradients(torch.autograd.Function):
    """A loss that came with its gradients: the way back only scales them."""

    @staticmethod
    def forward(ctx, loss: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        """Return the loss, as a function of the parameters."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):
        """Return the gradients of the parameters."""
        return None, None, *(None if gradient is None else gradient * scale for gradient in ctx.gradients)


def loss_in_halves(pool: ThreadPoolExecutor, models: Sequence[nn.Module], batch: dict[str, Tensor]) -> Tensor:
    """Return `loss_of_fewer_rows` of a batch, one half of which each of the two models computes.

    Each half's masks follow a seed that is drawn here, so they do not depend on how the threads take turns.
    """
    parameters = [parameter for parameter in models[0].parameters() if parameter.requires_grad]
    models[1].train(models[0].training)
    halves = split(batch)
    seeds = torch.randint(2**63 - 1, (len(halves),)).tolist()
    parts = side_by_side(pool, partial(_loss_and_gradients, parameters), models[: len(halves)], halves, seeds)
    losses, gradients = zip(*parts, strict=True)
    return _KnownGradients.apply(sum(losses), [_sum(each) for each in zip(*gradients, strict=True)], *parameters)


def split(batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the even and the odd rows of a batch; of a single row, that one."""
    return [{name: tensor[part::2] for name, tensor in batch.items()} for part in range(min(2, len(batch["labels"])))]


def side_by_side(pool: ThreadPoolExecutor, function: Callable, *arguments: Sequence) -> list:
    """Map a function over its arguments in the threads of a pool, each of which gets half of torch's threads."""
    threads = torch.get_num_threads()

    def alone(*given):
        torch.set_num_threads(max(1, threads // 2))  # of this thread, and of MKL everywhere
        return function(*given)

    try:
        return list(pool.map(alone, *arguments))
    finally:
        torch.set_num_threads(threads)


def _loss_and_gradients(parameters: Sequence[Tensor], model: nn.Module, rows: dict[str, Tensor], seed: int) -> tuple:
    """Return the loss of some rows, and its gradients."""
    GENERATOR.set(torch.Generator().manual_seed(seed))
    loss = loss_of_fewer_rows(model, rows)
    return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return the sum of a parameter's gradients, None where the loss does not depend on it."""
    known = [part for part in parts if part is not None]
    return sum(known[1:], known[0]) if known else None
