"""How is an update encoded, and what does the client remember?"""

from hocket.uplink.plain import Plain

__all__ = ["Plain"]
