"""The command line: ``hocket demo``, ``hocket simulate``, ``hocket report``."""

from hocket.cli.main import main

__all__ = ["main"]
