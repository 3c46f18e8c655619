"""A batch travels from a loader worker to its reader as one block of shared memory: one descriptor, copied once.

Each tensor by itself would cost a descriptor, and what goes wrong in the thread that sends it would be lost: here
memory is taken, and its lack is noticed, where the worker makes the batch.
"""

import io
import os
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

ALIGNED = 64  # bytes: any type of numbers may begin there


class Parcel:
    """Any object of plain values and tensors, packed; what arrives in the other process is the object itself."""

    def __init__(self, content: object) -> None:
        self.tensors: list[tuple[int, Tensor]] = []  # with where each begins
        self.size = 0
        stream = io.BytesIO()
        pickler = pickle.Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.persistent_id = self._place_of  # type: ignore[method-assign]
        pickler.dump(content)
        self.content = stream.getvalue()
        self.block = shared_block(self.size)
        for start, tensor in self.tensors:
            self.block[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
        self.tensors = []

    def _place_of(self, value: object) -> tuple[int, torch.dtype, tuple[int, ...]] | None:
        """Where a tensor will lie in the block, its type and shape."""
        if not isinstance(value, Tensor):
            return None
        start, self.size = self.size, self.size + -(-value.nbytes // ALIGNED) * ALIGNED
        self.tensors.append((start, value))
        return start, value.dtype, tuple(value.shape)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[bytes, Tensor]]:
        return unpacked, (self.content, self.block)


def unpacked(content: bytes, block: Tensor) -> object:
    """The object of a parcel; its tensors are views of the block."""

    def tensor_at(place: tuple[int, torch.dtype, tuple[int, ...]]) -> Tensor:
        start, dtype, shape = place
        size = dtype.itemsize * torch.Size(shape).numel()
        return block[start : start + size].view(dtype).view(shape)

    unpickler = pickle.Unpickler(io.BytesIO(content))
    unpickler.persistent_load = tensor_at  # type: ignore[method-assign]
    return unpickler.load()


def shared_block(size: int) -> Tensor:
    """uint8 (size,) in shared memory that is really there. RuntimeError if it is not."""
    try:
        storage = torch.UntypedStorage._new_shared(max(size, 1))
        os.posix_fallocate(storage._share_fd_cpu_()[0], 0, max(size, 1))  # else its lack would be a bus error later
    except (OSError, RuntimeError) as error:
        raise RuntimeError(f"no shared memory for a batch of {size / 1e6:.1f} MB: {error}") from error
    return torch.empty(0, dtype=torch.uint8).set_(storage)[:size]


class Packed:
    """A collate function whose outcome leaves a worker as one parcel."""

    def __init__(self, collate: Callable[[Any], object]) -> None:
        self.collate = collate

    def __call__(self, items: Any) -> object:
        batch = self.collate(items)
        return batch if get_worker_info() is None else Parcel(batch)


def as_it_is(item: object) -> object:
    """For loaders that put nothing together."""
    return item
