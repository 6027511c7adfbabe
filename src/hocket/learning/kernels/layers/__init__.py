"""Layers of many clients at once: forward and backward by hand, one file per kind.

Values lie in a :class:`~hocket.learning.kernels.layers.plane.Plane`, wired when the buffers are made: a layer reads the
plane below it and writes the plane above, and on the way back reads the gradient above and writes that below.
"""
