"""Limits on everything that a client can send or ask for."""

from __future__ import annotations

OBJECT_BYTES_MAX = 1 << 20
# What the server itself writes into an object (a deletion's marks, a bind) may take it beyond what clients may send:
# an object of the largest size could never be deleted otherwise.
STORED_BYTES_MAX = OBJECT_BYTES_MAX + (64 << 10)
REQUEST_BYTES_MAX = 4 << 20
PAGE_ITEMS_MAX = 10_000
PATCH_OPERATIONS_MAX = 10_000
# What all copy operations of one JSON patch may copy (apiserver ``JSONPatchMaxCopyBytes``).
PATCH_COPY_BYTES_MAX = 3 << 20
SELECTOR_CHARACTERS_MAX = 64 * 1024

# One message of a list, and of a multiplexed watch.
MESSAGE_BYTES_TARGET = 1 << 20
# One part of a list or an initial state while the server has other work.
BUSY_PART_BYTES_TARGET = 256 << 10
TURNS_BETWEEN_PARTS = 6
# What initial states and catch-up may put in front of live events.
BULK_BYTES_TARGET = 64 << 10

# How long events of a watch may gather: less than the time between the bookmark before a timeout and the timeout.
GATHER_MS_MAX = 1000

# Watches of one multiplexed stream that open at once; the stream is not read on before.
OPENINGS_PER_STREAM_MAX = 256
# A watch counts as opened when its initial state is sent, or after this time: its reader may be slow.
OPENING_S_MAX = 5.0

# What a list waits for longer than this, it waits for without its place.
LIST_FRESHNESS_S_MAX = 0.05
# A list of which not even one part is taken in this time is given up.
LIST_UNREAD_S_MAX = 5.0
# A stream of watches whose reader takes nothing of a message for this time is given up: people may pause a pager.
WATCH_UNREAD_S_MAX = 300.0

# Answers of a multiplexed stream that are not written yet; it is not read on before.
ANSWERS_PER_STREAM_MAX = 256

# Names that generateName tries before it gives up (KEP-4420).
GENERATE_NAME_ATTEMPTS = 8
GENERATED_NAME_CHARACTERS_MAX = 63
GENERATED_SUFFIX_CHARACTERS = 5

# Lost races after which a read-modify-write gives up; each means that someone else's write succeeded.
WRITE_ATTEMPTS = 16

# Items of a batch after which other tasks get a turn.
ITEMS_PER_TURN = 64

# Server-side end of a watch, seconds; the client's own timeout is shorter as a rule.
WATCH_TIMEOUT_S = (1800.0, 3600.0)
BOOKMARK_BEFORE_TIMEOUT_S = 2.0
# Up to here a multiplexed watch's own timeout has timers of its own; longer ones are kept to the second.
WATCH_TIMEOUT_EXACT_S_MAX = 60

# Lease renewals: requests of one stream that are not answered yet, and what one request may hold.
RENEWALS_PER_STREAM_MAX = 32
RENEWALS_PER_REQUEST_MAX = 10_000
RENEWAL_BYTES_MAX = 512 << 10
