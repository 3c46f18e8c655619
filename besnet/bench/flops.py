"""Multiplications and additions, by torch's own count.

It counts the gradient of a grouped convolution's weights as if there were one group, for depthwise filters hundreds of
times too many: that is corrected here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_backward_flop


def counted(run: Callable[[], object]) -> int:
    """FLOP of what `run` does, in eager mode."""
    corrected = {torch.ops.aten.convolution_backward: grouped_backward}
    with FlopCounterMode(display=False, custom_mapping=corrected) as counter:
        run()
    return int(counter.get_total_flops())


def grouped_backward(*shapes_and_settings: Any, out_shape: Any, **_: Any) -> int:
    """FLOP of a convolution's backward pass; arguments as aten.convolution_backward has them, shapes for tensors."""
    formula: Any = conv_backward_flop
    *others, groups, (of_input, of_weight, _bias) = shapes_and_settings
    input_flop = formula(*others, groups, [of_input, False, False], out_val=out_shape)
    weight_flop = formula(*others, groups, [False, of_weight, False], out_val=out_shape)
    return int(input_flop + weight_flop // groups)
