"""Which nodes and edges exist?"""

from hocket.downlink.full import Full

__all__ = ["Full"]
