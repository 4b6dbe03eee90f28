"""A GPU for tests, where there is none, and a meter for one, simulated or not.

Simulated: the ordinary wheel of torch is the one for CUDA; without a driver only its runtime library fails, in whose
place ``build.py`` puts one that knows devices, memory and errors, and runs no kernel. All above it is torch itself: the
dispatcher, autocast, the gradient scaler, the allocator and its peaks, the checks of devices and types, the alerts of
``torch.use_deterministic_algorithms``, "cannot re-initialize CUDA in forked subprocess". What kernels would have
computed, the CPU computes here, operation by operation. Values are so right that a program can be compared with its run
on a CPU.

Not seen: cuBLAS, cuDNN and NCCL (which the CPU, and gloo, stand for), speed, races between streams, Triton.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.gpu.simulated import batch_norm
from tests.gpu.simulated.build import ROOT

READS_BACK = frozenset(
    "_local_scalar_dense nonzero masked_select bincount equal _unique2 unique_dim unique_consecutive".split()
)
"""Operations after which the host must know something: it waits until the GPU has done all that was asked of it."""
INDEXING = frozenset({"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"})
METADATA = frozenset(
    "empty empty_strided empty_like new_empty new_empty_strided set_ resize_ record_stream is_pinned "
    "_pin_memory".split()
)
"""Operations that touch no values."""
RANDOM = frozenset(
    "rand rand_like randn randn_like randint randint_like randperm normal_ uniform_ random_ bernoulli bernoulli_ "
    "exponential_ multinomial native_dropout".split()
)
NOT_CALLED = (
    READS_BACK
    | INDEXING
    | RANDOM
    | frozenset(
        "convolution convolution_backward mm addmm bmm baddbmm mv addmv dot vdot _addmm_activation repeat_interleave "
        "sort argsort topk kthvalue median histc searchsorted embedding_dense_backward linalg_inv_ex linalg_solve_ex "
        "_linalg_svd _fft_r2c _fft_c2r _fft_c2c _linalg_eigh _native_multi_head_attention".split()
    )
)
"""Operations whose CUDA part needs results of kernels, or a library that finds no GPU: the CPU's stands for them."""
MIXES = INDEXING | {"_amp_update_scale_", "_fused_sgd_", "_fused_adamw_"}
"""Operations that take tensors of the CPU beside those of a GPU."""
HALF = (torch.float16, torch.bfloat16)


@dataclass
class Meter:
    """What was asked of a GPU.

    Attributes:
        kernels: Operations that compute on it, by name.
        waits: Places where the host waits for it, ``what: file:line``, with how often.
        unpinned: Places from where pageable memory is copied to it, likewise.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    unpinned: Counter[str] = field(default_factory=Counter)


_meters: list[Meter] = []


def _on_gpu(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


def _place() -> str:
    """The innermost line of the project that is being run."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith((f"{ROOT}/wsss", f"{ROOT}/tests")) and "/simulated/" not in name:
            return f"{name.removeprefix(f'{ROOT}/')}:{frame.f_lineno}"
        frame = frame.f_back
    return "torch"


class Watched(TorchDispatchMode):
    """Counts; torch computes."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        values = tree_leaves((args, kwargs))
        to = next((v for v in values if isinstance(v, torch.device)), None)
        if not any(map(_on_gpu, values)) and (to is None or to.type != "cuda"):
            return func(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # in inference mode operations arrive that are made of others
                return func.decompose(*args, **kwargs)
        name = func.overloadpacket.__name__
        if func.namespace == "c10d":  # what processes tell each other goes through memory as it is
            return func(*args, **kwargs)
        if name in METADATA or (func.is_view and name != "_to_copy"):
            return func(*args, **kwargs)
        self.count(name, args, kwargs, to)
        return self.run(func, name, args, kwargs, to)

    def run(self, func, name, args, kwargs, to):
        return func(*args, **kwargs)

    @staticmethod
    def count(name, args, kwargs, to) -> None:
        if not _meters:
            return
        waits, unpinned = "", False
        if name in ("_to_copy", "copy_"):
            if name == "copy_":
                target, source = args[0].device.type, args[1]
                asynchronous = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
            else:
                source = args[0]
                target, asynchronous = (to or source.device).type, kwargs.get("non_blocking", False)
            here = source.device.type
            pinned = here == "cuda" or source.is_pinned()
            unpinned = target == "cuda" and not pinned
            if here != target and not asynchronous:
                waits = "copy"
        elif name in READS_BACK or (name in INDEXING and any(_on_gpu(i) and i.dtype == torch.bool for i in args[1])):
            waits = name
        elif name in INDEXING and any(isinstance(i, torch.Tensor) and i.device.type == "cpu" for i in args[1]):
            waits, unpinned = f"{name} by indices on the CPU", True
        for meter in _meters:
            meter.kernels[name] += 1
            if waits:
                meter.waits[f"{waits}: {_place()}"] += 1
            if unpinned:
                meter.unpinned[_place()] += 1


class Simulated(Watched):
    """Counts, lets torch check and allocate, and computes on the CPU."""

    def run(self, func, name, args, kwargs, to):
        if name == "_to_copy":
            return self.copied(func, args[0], kwargs, to)
        if name == "copy_":
            target, source = args[:2]
            _seen(target).copy_(_seen(source))
            return target
        self.refuse_mixtures(name, args, kwargs)
        promised = None if name in NOT_CALLED else func(*args, **kwargs)  # torch's checks; no kernel runs
        cpu = torch.device("cpu")
        given = tree_map(lambda v: _seen(v) if isinstance(v, torch.Tensor) else cpu if v == to and to else v, args)
        options = {
            k: tree_map(lambda v: _seen(v) if isinstance(v, torch.Tensor) else cpu if v == to and to else v, value)
            for k, value in kwargs.items()
            if k != "pin_memory"
        }
        if func._schema.is_mutable:
            found = func(*given, **options)
            return self.changed(func, args, kwargs, found)
        device = to or next(v.device for v in tree_leaves((args, kwargs)) if _on_gpu(v))
        found = self.computed(func, given, options)
        return self.moved(promised, found, device, (given, options))

    @staticmethod
    def refuse_mixtures(name, args, kwargs) -> None:
        """As torch does, also where its own code for a GPU is not asked. Numbers may come from the CPU."""
        tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        if name in INDEXING:
            if not _on_gpu(args[0]):
                raise RuntimeError(
                    "indices should be either on cpu or on the same device as the indexed tensor (simulated)"
                )
            return
        places = {str(t.device) for t in tensors if t.ndim or _on_gpu(t)}
        if len(places) > 1 and name not in MIXES:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, "
                f"{' and '.join(sorted(places))}! (simulated, {name})"
            )

    @staticmethod
    def computed(func, given, options):
        """The CPU's result. Half precision is widened and rounded at the end, as on a GPU, whose sums are in fp32.
        Where torch has made tensors for the results, their types decide (``moved``)."""
        func = getattr(batch_norm, func.overloadpacket.__name__, func)
        half = {t.dtype for t in tree_leaves((given, options)) if isinstance(t, torch.Tensor) and t.dtype in HALF}
        if not half:
            return func(*given, **options)
        narrow = half.pop()

        def widened(value):
            if isinstance(value, torch.Tensor) and value.dtype in HALF:
                return value.float()
            return torch.float32 if isinstance(value, torch.dtype) and value in HALF else value

        if func in (torch.ops.aten._softmax.default, torch.ops.aten._log_softmax.default):
            given = (*given[:2], False)  # "from half to float", which only a GPU does at once

        found = func(*tree_map(widened, given), **tree_map(widened, options))
        asked = options.get("dtype")
        return tree_map(
            lambda t: t.to(asked or narrow) if isinstance(t, torch.Tensor) and t.dtype == torch.float32 else t, found
        )

    @staticmethod
    def changed(func, args, kwargs, found):
        """What an operation returns that works in place: its own arguments."""
        written = []
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written.append(args[place] if place < len(args) else kwargs.get(argument.name))
        if not func._schema.returns:
            return None
        if len(func._schema.returns) == 1 and isinstance(found, torch.Tensor):
            return written[0]
        if isinstance(found, (tuple, list)) and len(found) == len(written):
            return tuple(written)
        raise NotImplementedError(f"{func}: what it returns is not known to the simulated GPU")

    @staticmethod
    def moved(promised, found, device, given):
        """The CPU's results in memory of the device, in the tensors that torch has made for them."""
        tensors = [t for t in tree_leaves(given) if isinstance(t, torch.Tensor) and t.numel()]
        known = {t.untyped_storage().data_ptr() for t in tensors}
        made = iter(tree_leaves(promised)) if promised is not None else None

        def one(result):
            target = next(made) if made is not None else None
            if not isinstance(result, torch.Tensor):
                return result
            if target is not None and result.numel() and result.untyped_storage().data_ptr() in known:
                return target  # a view of what was given
            if target is None or target.shape != result.shape:
                target = torch.empty_strided(result.size(), result.stride(), dtype=result.dtype, device=device)
            _seen(target).copy_(result)
            return target

        return tree_map(one, found)

    @staticmethod
    def copied(func, source, kwargs, to):
        to = to or source.device
        options = {k: v for k, v in kwargs.items() if k not in ("device", "non_blocking", "pin_memory")}
        found = func(_seen(source), **options)
        if to.type == "cpu":
            return found
        target = torch.empty_strided(found.size(), found.stride(), dtype=found.dtype, device=to)
        _seen(target).copy_(found)
        return target


def _seen(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the CPU over the memory of one of the device."""
    if not _on_gpu(tensor):
        return tensor
    storage = tensor.untyped_storage()
    whole = storage.nbytes() // tensor.element_size() * tensor.element_size()
    if not whole or not tensor.numel():
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
    bytes_ = (ctypes.c_char * whole).from_address(storage.data_ptr())
    seen = torch.frombuffer(bytes_, dtype=tensor.dtype)
    return seen.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())


_mode: Simulated | None = None


def begin() -> None:
    """Simulate for the rest of this process, in this thread and in those of its backward passes."""
    global _mode
    if _mode is not None:
        return
    torch.backends.cudnn.enabled = False
    for switch in (torch.backends.cuda.enable_flash_sdp, torch.backends.cuda.enable_mem_efficient_sdp):
        switch(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    import torch.distributed as dist

    join = dist.init_process_group

    def joined(backend=None, *args, **kwargs):
        return join("gloo" if backend == "nccl" else backend, *args, **kwargs)

    dist.init_process_group = joined
    _mode = Simulated()
    _mode.__enter__()


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    """Count what the block asks of GPUs, simulated or not."""
    meter = Meter()
    _meters.append(meter)
    makers = [(torch, "tensor"), (torch, "as_tensor"), (torch.Tensor, "new_tensor")]
    plain = [(where, name, getattr(where, name)) for where, name in makers]
    for where, name, function in plain:
        setattr(where, name, _counted(function))
    try:
        with contextlib.nullcontext() if _mode is not None else Watched():
            yield meter
    finally:
        for where, name, function in plain:
            setattr(where, name, function)
        _meters.remove(meter)


def _counted(function):
    """A function that makes tensors of the host's numbers: what it copies to a GPU reaches no mode."""

    def make(*args, **kwargs):
        made = function(*args, **kwargs)
        if _on_gpu(made) and not any(made is value for value in args):
            for meter in _meters:
                meter.waits[f"{function.__name__}: {_place()}"] += 1
                meter.unpinned[_place()] += 1
        return made

    return make
