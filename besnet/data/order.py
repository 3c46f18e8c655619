"""Which videos come when: a function of the seed and the position, never of workers or ranks."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from besnet.data.balance import Balance
from besnet.data.window import ShardWindow

# One number a purpose keeps the streams of random numbers apart.
ORDER, CLIP, DILATION, SUBSTITUTE, NOISE, MIX, AUGMENT, SAMPLE, INTERVAL = range(9)


def generator(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """Random numbers that belong to one purpose at one position, the same on every machine."""
    return np.random.default_rng([seed, purpose, *position])


def sample(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of these rows in a drawn order, the same ones at every call.

    Lists are sorted by class, or repeat a pattern: neighbours, or every n-th row, are no sample of them.
    """
    return generator(0, SAMPLE).permutation(rows)[:count]


# (epoch, row of the manifest, how often the epoch has had this row before)
Key = tuple[int, int, int]


class TrainingOrder(Sampler[list[Key]]):
    """Micro-batches of one rank as (epoch, row of the manifest, repeat) keys.

    Every epoch is one permutation of `rows`, a function of (seed, epoch) alone; the global micro-batch m takes the next
    batch_size * world_size of it, and rank r every world_size-th of those. The last incomplete global micro-batch of
    an epoch is left out. Iteration starts at `epoch` and `samples` (of all ranks, consumed in this epoch).
    With `repeats` every video comes that often in one global micro-batch, and an epoch is as many times as long.
    With `limit` an epoch ends after so many global micro-batches, and the next one begins with its own permutation.
    With `balance` an epoch takes as many videos, but rare classes more often: one draw of all, also a function of
    (seed, epoch) alone.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        repeats: int = 1,
        limit: int | None = None,
        balance: Balance | None = None,
    ) -> None:
        global_batch = batch_size * world_size
        if len(rows) * repeats < global_batch:
            raise ValueError(
                f"{len(rows)} training videos do not fill one global batch of {global_batch} "
                f"({batch_size} on each of {world_size} ranks): lower data.batch_size"
            )
        if global_batch % repeats:
            raise ValueError(
                f"a global batch of {global_batch} ({batch_size} on each of {world_size} ranks) cannot hold every "
                f"video {repeats} times: make data.batch_size a multiple of data.repeats"
            )
        self.rows = rows
        self.balance = balance
        self.repeats = repeats
        self.clips = len(rows) * repeats  # of an epoch, those of an incomplete global micro-batch among them
        if limit is not None:
            self.clips = min(self.clips, limit * global_batch)
        self.global_batch = global_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.window: ShardWindow | None = None
        self.place = rank  # of its clips in each row of world_size
        self.epoch = 0
        self.samples = 0

    def __len__(self) -> int:
        """Micro-batches in a whole epoch."""
        return self.clips // self.global_batch

    def after(self, epoch: int, samples: int) -> tuple[int, int]:
        """The position one global micro-batch further on: (epoch, samples consumed in it)."""
        samples += self.global_batch
        return (epoch, samples) if samples + self.global_batch <= self.clips else (epoch + 1, 0)

    def here(self, epoch: int, samples: int) -> tuple[int, int]:
        """A position that batches of another size led to: the next epoch's start if no global batch is left of this."""
        return (epoch, samples) if samples + self.global_batch <= self.clips else (epoch + 1, 0)

    def behind(self, samples: int) -> int:
        """Global micro-batches of an epoch that are not to come any more once `samples` of it are consumed."""
        return len(self) - (self.clips - samples) // self.global_batch

    def mix_shards(self, window: ShardWindow) -> None:
        """Draw the order so that few shards are open at a time; the window may also choose which clips are whose."""
        self.window = window
        if self.repeats == 1:
            self.place = window.place(self.rank, self.world_size)

    def epoch_rows(self, epoch: int) -> np.ndarray:
        """The rows of an epoch in its order, int64 (len(rows),); with `balance` some come several times."""
        rng = generator(self.seed, ORDER, epoch)
        if self.window is None:
            return self.rows[rng.permutation(len(self.rows)) if self.balance is None else self.balance.draw(rng)]
        taken = np.arange(len(self.rows)) if self.balance is None else self.balance.draw(rng)
        return self.rows[taken[self.window.permutation(rng, taken)]]

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, before = self.epoch, Counter[int]()
        keys = []
        for row in self.epoch_rows(epoch).tolist():
            keys += [(epoch, row, before[row] + repeat) for repeat in range(self.repeats)]
            before[row] += self.repeats
        for start in range(self.samples, self.clips - self.global_batch + 1, self.global_batch):
            yield keys[start : start + self.global_batch][self.place :: self.world_size]
