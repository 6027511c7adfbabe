"""Who may start fetching what, from when?"""

from hocket.prefetch.calendar import Calendar
from hocket.prefetch.next_routes import NextRoutes
from hocket.prefetch.none import NoPrefetch
from hocket.prefetch.once import Once

__all__ = ["Calendar", "NextRoutes", "NoPrefetch", "Once"]
