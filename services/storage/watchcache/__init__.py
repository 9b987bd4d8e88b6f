"""The watch cache of one resource: its state, a window of its latest changes, and everybody who watches.

Reads are as fresh as they ask for, watches are dispatched in paced rounds by index, and one watch on the store behind
serves any number of clients. No event is lost, repeated or reordered; whoever falls out of the window is told.
"""

from services.storage.watchcache.cached import CachedStore
from services.storage.watchcache.ring import WindowBounds

__all__ = ["CachedStore", "WindowBounds"]
