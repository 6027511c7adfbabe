"""Claims with a source and a band, each checked by a run: ``hocket reproduce NAME|all``.

An entry is a function that measures one number, under :func:`~hocket.reproduce.claim.claim` with what it should
be; a module of entries is imported by :mod:`~hocket.reproduce.registry`.
"""

from hocket.reproduce.claim import Claim, Verdict, check, claim
from hocket.reproduce.registry import CLAIMS, named

__all__ = ["CLAIMS", "Claim", "Verdict", "check", "claim", "named"]
