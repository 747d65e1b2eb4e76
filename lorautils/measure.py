"""Measure what a pass through a model costs: operations, memory, calls of linear layers, time.

Notebook 06 teaches what the numbers say about LoRA; 12 and 13 measure training steps with it.
A product of shapes (a, b) and (b, c) counts as 2abc operations.
"""

import math
import weakref
from collections.abc import Callable, Mapping
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode


def flops(forward: Callable[[], Tensor]) -> tuple[int, int]:
    """Return the operations of `forward`, which computes a scalar loss, and of the backward pass from that loss.

    Source: `torch.utils.flop_counter`, which counts matrix products, attention and convolutions, and nothing else.

    Example:
        >>> x, w = torch.ones(2, 3), torch.ones(3, 4, requires_grad=True)
        >>> flops(lambda: (x @ w).sum())
        (48, 48)
    """
    with FlopCounterMode(display=False) as ahead:
        loss = forward()
    with FlopCounterMode(display=False) as back:
        loss.backward()
    return ahead.get_total_flops(), back.get_total_flops()


def kept_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Return the bytes that `forward` keeps for a backward pass: its activations, without the model's own weights.

    Source: `torch.autograd.graph.saved_tensors_hooks`. Tensors that share memory count once.
    """
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        for part in (tensor._indices(), tensor._values()) if tensor.is_sparse else (tensor,):
            kept[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
        return tensor.detach()  # an output that its own node keeps would never be freed

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()  # holds what was kept, so that no address is used twice
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    del loss
    return sum(kept[address] for address in kept.keys() - weights)


def linear_calls(forward: Callable[[], object]) -> int:
    """Return how many `nn.Linear` layers are called while `forward` runs.

    Example:
        >>> layer = nn.Linear(4, 4)
        >>> linear_calls(lambda: layer(layer(torch.ones(1, 4))))
        2
    """
    calls = []

    def note(module: nn.Module, *_) -> None:
        calls.append(isinstance(module, nn.Linear))

    with nn.modules.module.register_module_forward_hook(note):
        forward()
    return sum(calls)


def fastest(works: Mapping[str, Callable[[], object]], times: int = 5) -> dict[str, float]:
    """Return the shortest time of each piece of work in seconds, after `times` rounds in which they take turns.

    Other programs can only make a run longer; turns and the minimum keep most of that out of a comparison.
    """
    if times < 1:
        raise ValueError(f"times was {times}, expected at least 1")
    shortest = dict.fromkeys(works, math.inf)
    for _ in range(times):
        for name, work in works.items():
            begin = perf_counter()
            work()
            shortest[name] = min(shortest[name], perf_counter() - begin)
    return shortest


def gigaflops(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Return the speed of (256, 576) @ (576, 1536), as in an MLP of the base model, in 10^9 operations a second.

    The probe behind every choice of a precision: which one is faster no name of a processor tells.
    """
    matrices = {"x": torch.ones(256, 576, dtype=dtype), "w": torch.ones(1536, 576, dtype=dtype)}
    timer = Timer("x @ w.T", globals=matrices, num_threads=torch.get_num_threads())
    return 2 * 256 * 576 * 1536 / timer.blocked_autorange(min_run_time=seconds).mean / 1e9


def kernels(work: Callable[[], object]) -> dict[str, tuple[int, float]]:
    """Return how often torch calls each kernel while `work` runs, and the seconds that it spends in it on a CPU.

    Kernels that only look at memory in another way, such as a transpose, do not count. The names are those of ATen.
    """
    found: dict[str, tuple[int, float]] = {}

    class Note(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            begin = perf_counter()
            result = function(*args, **(kwargs or {}))
            if not function.is_view:
                name = function.overloadpacket.__name__
                calls, seconds = found.get(name, (0, 0.0))
                found[name] = calls + 1, seconds + perf_counter() - begin
            return result

    with Note():
        work()
    return found


class _Allocated(TorchDispatchMode):
    """Follows the memory of every tensor that an operation returns, until nothing refers to it."""

    def __init__(self):
        super().__init__()
        self.sizes, self.now, self.course = {}, 0, []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self._note((args, kwargs), new=False)
        result = operation(*args, **(kwargs or {}))
        self._note(result, new=True)
        self.course.append(self.now)
        return result

    def _note(self, tensors, new: bool) -> None:
        for tensor in tree_iter(tensors):
            if isinstance(tensor, Tensor):
                memory = tensor.untyped_storage()
                if memory._cdata not in self.sizes:
                    self.sizes[memory._cdata] = memory.nbytes() if new else 0
                    self.now += self.sizes[memory._cdata]
                    weakref.finalize(memory, self._free, memory._cdata)

    def _free(self, address: int) -> None:
        self.now -= self.sizes.pop(address)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return how far `work` raises the memory of torch's tensors above its start, in bytes: the CPU's counterpart of
    `torch.cuda.max_memory_allocated`. Memory that a kernel takes and gives back itself is not seen.
    """
    return max(memory_curve(work), default=0)


def memory_curve(work: Callable[[], object]) -> list[int]:
    """Return by how many bytes torch's tensors exceed the start, after each operation of `work`: its highest point
    is `peak_bytes`.

    Example:
        >>> memory_curve(lambda: torch.ones(8) + 1)
        [32, 64]
    """
    with _Allocated() as allocated:
        work()
    return allocated.course
