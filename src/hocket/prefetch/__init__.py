"""Who may start fetching what, from when?"""

from hocket.prefetch.none import NoPrefetch

__all__ = ["NoPrefetch"]
