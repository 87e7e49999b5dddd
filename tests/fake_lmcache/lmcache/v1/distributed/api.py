"""Stand-in."""

import collections

ObjectKey = collections.namedtuple("ObjectKey", "chunk_hash model_name kv_rank object_group_id cache_salt")
MemoryLayoutDesc = collections.namedtuple("MemoryLayoutDesc", "shapes dtypes")
