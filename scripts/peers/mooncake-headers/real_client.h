// What LMCache's Mooncake connector uses of Mooncake's store client, as declarations only: the pip package of Mooncake carries
// the library with these functions but not its headers (which need a dozen other libraries). The object is made by the library
// itself; only ReplicateConfig is laid out here, and it belongs to the release that scripts/peers/sdk.sh pins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mooncake {

using ConfigDict = std::unordered_map<std::string, std::string>;
enum class ErrorCode : int32_t { OK = 0 };
enum class SoftPinAction : uint8_t { PRESERVE = 0 };
enum class ObjectDataType : uint8_t { UNKNOWN = 0 };

// As the two-word result that Mooncake's expected<void, ErrorCode> is.
struct SetupResult {
  ErrorCode error;
  bool ok;
  bool has_value() const { return ok; }
};

struct ReplicateConfig {
  size_t replica_num{1};
  size_t nof_replica_num{0};
  size_t dfs_replica_num{0};
  SoftPinAction soft_pin_action{SoftPinAction::PRESERVE};
  std::optional<uint64_t> soft_pin_ttl_ms;
  bool with_hard_pin{false};
  std::vector<std::string> preferred_segments;
  std::string preferred_segment;
  std::vector<std::string> preferred_nof_segments;
  bool prefer_alloc_in_same_node{false};
  ObjectDataType data_type{ObjectDataType::UNKNOWN};
  std::string host_id;
  std::optional<std::vector<std::string>> group_ids;
};

class RealClient {
 public:
  static std::shared_ptr<RealClient> create();
  SetupResult setup_internal(const ConfigDict& config);
  int tearDownAll();
  int register_buffer(void* buffer, size_t size);
  int unregister_buffer(void* buffer);
  int64_t get_into(const std::string& key, void* buffer, size_t size);
  int put_from(const std::string& key, void* buffer, size_t size, const ReplicateConfig& config = ReplicateConfig{});
  int isExist(const std::string& key);
  int remove(const std::string& key, bool force);
  std::vector<int64_t> batch_get_into(const std::vector<std::string>& keys, const std::vector<void*>& buffers,
                                      const std::vector<size_t>& sizes);
  std::vector<int> batch_put_from(const std::vector<std::string>& keys, const std::vector<void*>& buffers,
                                  const std::vector<size_t>& sizes,
                                  const ReplicateConfig& config = ReplicateConfig{});
  std::vector<int> batchIsExist(const std::vector<std::string>& keys);
  std::vector<int> batchRemove(const std::vector<std::string>& keys, bool force);
};

}  // namespace mooncake
