//! LMCache's own adapters behind the bridge, and the layers around an adapter.
