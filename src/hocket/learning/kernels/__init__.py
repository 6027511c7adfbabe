"""How gradients of many clients are computed with torch: one file per path, one small interface.

A *kernel* computes for one model and one loss. ``work(lanes, width, momentum)`` gives it buffers for that many
clients and batches padded to ``width`` samples; a step of the work adds gradients to those buffers. A lane's
bits may not depend on the other lanes: see :mod:`hocket.learning.learner`.
"""
