"""Stand-in."""

import collections

L1MemoryDesc = collections.namedtuple("L1MemoryDesc", "ptr size align_bytes")
