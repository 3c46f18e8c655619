"""How long a training is: micro-batches, optimiser steps and epochs are counted here and nowhere else."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """The length of a run on each of its ranks.

    batches: micro-batches of a whole epoch. accumulate: micro-batches of a step, where the epoch has as many left; its
    last step takes those that are left. epochs, max_steps: the run ends with whichever comes first; max_steps is
    negative for no such bound.
    """

    batches: int
    accumulate: int
    epochs: int
    max_steps: int = -1

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of a whole epoch."""
        return -(-self.batches // self.accumulate)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        steps = self.steps_per_epoch * self.epochs
        return steps if self.max_steps < 0 else min(steps, self.max_steps)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of the whole run."""
        epochs, steps = divmod(self.steps, self.steps_per_epoch)
        return epochs * self.batches + min(steps * self.accumulate, self.batches)

    def window(self, batch: int, first: int = 0) -> int:
        """How many micro-batches make a step with number `batch` of an epoch, which began here with number `first`."""
        number = batch // self.accumulate
        return min((number + 1) * self.accumulate, self.batches) - max(number * self.accumulate, first)

    def steps_left(self, epoch: int, batch: int, steps_made: int) -> int:
        """Optimiser steps to come after `batch` micro-batches of `epoch`, and `steps_made` steps in all."""
        left = self.steps_per_epoch * (self.epochs - epoch) - batch // self.accumulate
        return max(0, left if self.max_steps < 0 else min(left, self.max_steps - steps_made))
