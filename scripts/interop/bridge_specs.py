"""Specs of the types that only LMCache can run, each field with right and wrong values, and LMCache's messages for them."""

import argparse
import json
import logging
import sys
import unittest.mock

# Absent from a plain installation; the checks of the fields do not use them.
for name in ("nixl", "nixl._api", "nixl._bindings", "nixl.logging"):
    try:
        __import__(name)
    except ImportError:
        sys.modules[name] = unittest.mock.MagicMock()

import lmcache.v1.distributed.l2_adapters  # noqa: F401  (registers the types)
from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config

RIGHT = {
    "plugin": {"module_path": "m", "class_name": "C"},
    "native_plugin": {"module_path": "m", "class_name": "C"},
    "mooncake_store": {},
    "aerospike": {"hosts": "h:1"},
    "nixl_native": {"backend": "POSIX"},
    "nixl_store": {"backend": "OBJ", "pool_size": 4},
    "p2p": {"peer_mq_server_url": "a", "peer_transfer_channel_server_url": "b"},
    "hfbucket": {"bucket_handle": "hf://buckets/a/b"},
    "sagemaker-hyperpod": {"url": "sagemaker-hyperpod://h:1"},
    "bigtable": {"bigtable_project_id": "p", "bigtable_instance_id": "i", "bigtable_table_name": "t"},
    "hf3fs": {"mount_point": "/", "base_paths": "/tmp"},
}
FIELDS = {
    "plugin": "module_path class_name adapter_params config_class_name",
    "native_plugin": "module_path class_name adapter_params max_capacity_gb",
    "mooncake_store": "num_workers per_op_workers",
    "aerospike": "hosts namespace set_name set num_workers read_timeout_ms write_timeout_ms default_ttl_seconds "
    "target_segment_bytes max_record_bytes username max_capacity_gb",
    "nixl_native": "backend storage_type backend_params num_workers max_capacity_gb",
    "nixl_store": "backend backend_params pool_size",
    "p2p": "peer_mq_server_url peer_transfer_channel_server_url lookup_timeout_s load_timeout_s",
    "hfbucket": "bucket_handle token_env token create_bucket_if_missing download_tmp_dir metadata_cache_ttl_secs "
    "num_workers max_capacity_gb",
    "sagemaker-hyperpod": "url bucket shared_memory_name max_concurrent_requests timeout_ms put_stream_chunk_bytes "
    "max_lease_size_mb use_https eviction",
    "bigtable": "bigtable_project_id bigtable_table_name max_capacity_gb",
    "hf3fs": "mount_point base_paths num_workers ior_entries io_depth numa_id iov_size enable_key_buffer per_op_workers",
}
VALUES = [None, True, False, 0, 1, -1, 2, 1.5, -0.5, "", "x", "7", [], ["a"], {}, {"a": "b"}, {"a": 1}]
VALUES += [{"store": value} for value in (1, 0, True, "x")]
MORE = [
    {"type": "nixl_store", "backend": "POSIX", "pool_size": 1},
    {"type": "nixl_store", "backend": "GDS", "backend_params": {"file_path": "/x"}, "pool_size": 1},
    {"type": "nixl_store", "backend": "posix", "pool_size": 1},
    *({"type": "nixl_native", "backend": name} for name in ("P_1X", "1X", "P-1", "POSIX\n")),
    *({"type": "hfbucket", "bucket_handle": handle} for handle in ("hf://buckets/a", " hf://buckets//a/b/c/ ", "hf:/a/b")),
    *({"type": "sagemaker-hyperpod", "url": f"sagemaker-hyperpod:{rest}"} for rest in ("//", "//?q", "///p", "//h/ ")),
    *({"type": "hf3fs", **RIGHT["hf3fs"], "ior_entries": count} for count in (127, 128, 1024, 1025)),
    *({"type": "hf3fs", **RIGHT["hf3fs"], "io_depth": depth} for depth in (-129, -128, 128, 129)),
    {"type": "bigtable", "bigtable_project_id": 5, "bigtable_instance_id": "i"},
    {"type": "aerospike", "hosts": "h", "set": "", "set_name": "x"},
]


def specs() -> list[dict]:
    found = list(MORE)
    for name, right in RIGHT.items():
        found += [{"type": name}, {"type": name, **right}]
        found += [{"type": name, **{key: right[key] for key in right if key != left_out}} for left_out in right]
        found += [{"type": name, **right, field: value} for field in FIELDS[name].split() for value in VALUES]
    return found


def theirs(spec: dict) -> str | None:
    """LMCache's message, or none when the spec is right."""
    logging.disable(logging.CRITICAL)
    try:
        parse_args_to_l2_adapters_config(argparse.Namespace(l2_adapter=[json.dumps(spec)]))
    except ValueError as error:
        return str(error)
    return None
