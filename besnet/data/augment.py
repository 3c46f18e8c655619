"""Changes of colour, geometry and content of a training clip, the same for all its frames.

They are drawn in numbers beside the video, where they belong to (seed, epoch, video), and made on the device: see
besnet.data.changes.
Sources: E. Cubuk et al., "RandAugment", 2020; Z. Zhong et al., "Random Erasing Data Augmentation", 2020.
"""

from dataclasses import dataclass

import numpy as np

from besnet.ranges import check_section

# What one operation does (see besnet.data.changes) and by how much.
Change = tuple[str, tuple[float, ...]]

# The operations of RandAugment with their amounts at full strength; either sign is drawn for the first nine.
SIGNED = {"shear_x": 17.0, "shear_y": 17.0, "shift_x": 0.45, "shift_y": 0.45, "rotate": 30.0,
          "brightness": 0.9, "saturation": 0.9, "contrast": 0.9, "sharpness": 0.9}  # fmt: skip
UNSIGNED = {"posterize": 4.0, "solarize": 255.0, "autocontrast": 0.0, "equalize": 0.0, "nothing": 0.0}


@dataclass(frozen=True)
class Augmentation:
    """What changes in a training clip besides its crop and mirroring.

    Args:
        colour: brightness, contrast and saturation are each multiplied by a factor from 1 - colour to 1 + colour, in a
            drawn order; 0.4 is usual.
        hue: largest shift of the hue, as a share of the colour circle.
        rand_augment: operations that RandAugment draws for a clip, out of 14 of geometry and colour; 2 is usual.
        magnitude: strength of RandAugment's operations, 0 to 10.
        erase: probability that a rectangle of 2 to 33 % of the frames is painted grey.
    """

    colour: float = 0.0
    hue: float = 0.0
    rand_augment: int = 0
    magnitude: float = 7.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        check_section("data.augmentation", vars(self))

    def draw(self, rng: np.random.Generator) -> tuple[Change, ...]:
        """The changes of one clip, in the order in which they are applied."""
        changes: list[Change] = [self._operation(rng) for _ in range(self.rand_augment)]
        jitter = [(name, self.colour) for name in ("brightness", "contrast", "saturation")] + [("hue", self.hue)]
        for place in rng.permutation(len(jitter)):
            name, most = jitter[place]
            amount = rng.uniform(-most, most)
            if most:
                changes.append((name, (amount,)))
        if rng.random() < self.erase:
            changes.append(("erase", self._rectangle(rng)))
        return tuple(changes)

    def _operation(self, rng: np.random.Generator) -> Change:
        names = [*SIGNED, *UNSIGNED]
        name, sign = names[rng.integers(len(names))], rng.choice((-1.0, 1.0))
        full = SIGNED[name] * sign if name in SIGNED else UNSIGNED[name]
        return name, (full * self.magnitude / 10,)

    @staticmethod
    def _rectangle(rng: np.random.Generator) -> tuple[float, ...]:
        """Top, left, height and width, as shares of the frame's."""
        area, aspect = rng.uniform(0.02, 0.33), np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))
        height, width = min(1.0, np.sqrt(area / aspect)), min(1.0, np.sqrt(area * aspect))
        return rng.uniform(0, 1 - height), rng.uniform(0, 1 - width), height, width
