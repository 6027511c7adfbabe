"""From images to rows of units."""

from torch import Tensor

from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made


class Flatten:
    """``nn.Flatten`` from an image plane to [lanes, width, units], in torch's order of units."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        channels, height, columns = made.below.shape
        self._image = (made.below.width, made.below.lanes, channels, height, columns)

    def _by_lane(self, x: Tensor) -> Tensor:
        width, lanes, channels, height, columns = self._image
        w, _, h, c = x.stride()
        strides = (channels * x.stride(1), w, x.stride(1), h, c)
        return x.as_strided((lanes, width, channels, height, columns), strides)

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        x = self._by_lane(self.below.value(k))
        self.above.value(k).view(x.shape).copy_(x)

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if through:
            out = self._by_lane(self.below.grad(k))
            out.copy_(self.above.grad(k).view(out.shape))
