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

Place = tuple[int, torch.dtype, tuple[int, ...]]  # of a tensor in a block: where it begins, its type and shape


class Parcel:
    """Any object of plain values and tensors, packed; what arrives in the other process is the object itself."""

    def __init__(self, content: object) -> None:
        self.tensors: list[tuple[int, Tensor]] = []  # with where each begins
        self.size = 0
        stream = io.BytesIO()
        Packer(stream, self._place_of).dump(content)
        self.content = stream.getvalue()
        self.block = shared_block(self.size)
        for start, tensor in self.tensors:
            self.block[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
        self.tensors = []

    def _place_of(self, value: object) -> Place | None:
        """Where a tensor will lie in the block, its type and shape."""
        if not isinstance(value, Tensor):
            return None
        start, self.size = self.size, self.size + -(-value.nbytes // ALIGNED) * ALIGNED
        self.tensors.append((start, value))
        return start, value.dtype, tuple(value.shape)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[bytes, Tensor]]:
        return unpacked, (self.content, self.block)


class Packer(pickle.Pickler):
    """Pickles all but the tensors, of which it keeps what `place_of` gives."""

    def __init__(self, stream: io.BytesIO, place_of: Callable[[object], Place | None]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.place_of = place_of

    def persistent_id(self, value: object) -> Place | None:
        """What stands for a value; None for what is pickled itself."""
        return self.place_of(value)


class Unpacker(pickle.Unpickler):
    """The reverse; tensors are views of the block."""

    def __init__(self, content: bytes, block: Tensor) -> None:
        super().__init__(io.BytesIO(content))
        self.block = block

    def persistent_load(self, place: Place) -> Tensor:
        """The tensor that lies there."""
        start, dtype, shape = place
        size = dtype.itemsize * torch.Size(shape).numel()
        return self.block[start : start + size].view(dtype).view(shape)


def unpacked(content: bytes, block: Tensor) -> object:
    """The object of a parcel; its tensors are views of the block."""
    return Unpacker(content, block).load()


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
