"""Stand-in: the values that travel through the bridge."""

import enum


class MemoryFormat(enum.Enum):
    KV_2LTD = 1


class MemoryObjMetadata:
    def __init__(self, **fields):
        self.fields = fields


class TensorMemoryObj:
    def __init__(self, raw_data, metadata, parent_allocator):
        self.byte_array, self.metadata = raw_data, metadata
        assert len(raw_data) == metadata.fields["phy_size"]
