// The head of Mooncake's global configuration, up to the one field that LMCache's connector reads (for RDMA only).
#pragma once

#include <cstddef>
#include <cstdint>

namespace mooncake {

struct GlobalConfig {
  size_t num_cq_per_ctx;
  size_t num_comp_channels_per_ctx;
  uint8_t port;
  int gid_index;
  uint16_t pkey_index;
  uint64_t max_mr_size;
};

GlobalConfig& globalConfig();

}  // namespace mooncake
