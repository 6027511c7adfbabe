"""Data sets from files: found in a folder, checked, decoded to arrays.

A file is looked for in the folder given as ``data`` or else in ``HOCKET_DATA``; nothing is fetched and nothing is
unpickled.
"""

from hocket.learning.loaders import cifar, hub, idx, table, text
from hocket.learning.loaders.files import File

__all__ = ["File", "cifar", "hub", "idx", "table", "text"]
