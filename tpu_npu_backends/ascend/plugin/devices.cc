#include "devices.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "inner_plugin.h"

namespace pangu_ascend {
namespace {

constexpr std::string_view kCountOption = "cpu_device_count";  // the inner client's name for it
constexpr const char* kCountVariable = "PANGU_ASCEND_DEVICES";
constexpr int64_t kDefaultCount = 8;  // an Atlas 800T A2 server
constexpr int64_t kMostDevices = 4096;

Error DeviceCount(int64_t* count) {
  *count = kDefaultCount;
  const char* text = std::getenv(kCountVariable);
  if (text == nullptr || *text == '\0') return nullptr;
  char* end = nullptr;
  *count = std::strtoll(text, &end, 10);
  if (*end == '\0' && *count >= 1 && *count <= kMostDevices) return nullptr;
  return MakeError(PJRT_Error_Code_INVALID_ARGUMENT,
                   std::string(kCountVariable) + "=" + text + ": give a number of devices, 1 to " +
                       std::to_string(kMostDevices));
}

// Whoever creates the client may say the count as an option of the inner client; else the variable says it.
PJRT_Error* CreateClient(PJRT_Client_Create_Args* args) {
  std::vector<PJRT_NamedValue> options(args->create_options, args->create_options + args->num_options);
  for (const PJRT_NamedValue& option : options) {
    if (std::string_view(option.name, option.name_size) == kCountOption) return Inner().PJRT_Client_Create(args);
  }
  auto count = Sized<PJRT_NamedValue>(PJRT_NamedValue_STRUCT_SIZE);
  count.name = kCountOption.data();
  count.name_size = kCountOption.size();
  count.type = PJRT_NamedValue_kInt64;
  count.value_size = 1;
  if (Error error = DeviceCount(&count.int64_value)) return error.release();
  options.push_back(count);

  const PJRT_NamedValue* theirs = args->create_options;
  const size_t their_number = args->num_options;
  args->create_options = options.data();
  args->num_options = options.size();
  PJRT_Error* error = Inner().PJRT_Client_Create(args);
  args->create_options = theirs;
  args->num_options = their_number;
  return error;
}

}  // namespace

void WrapDevices(PJRT_Api& table) { table.PJRT_Client_Create = CreateClient; }

}  // namespace pangu_ascend
