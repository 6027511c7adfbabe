"""Durable memory of a run: a journal of what the server was told, the bodies it refers to, and checkpoints."""

from hocket.store.sqlite import SQLiteStore, read
from hocket.store.store import Checkpoint, Hook, Record, Recovered, Store

__all__ = ["Checkpoint", "Hook", "Record", "Recovered", "SQLiteStore", "Store", "read"]
