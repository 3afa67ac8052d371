#include "device_memory.h"

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "inner_plugin.h"

namespace pangu_ascend {
namespace {

constexpr int64_t kHbmBytes = int64_t{64} << 30;  // Ascend 910B1

// Which buffers live on which device. What programs use while they run is not in it: the inner client
// allocates that without telling.
class Ledger {
 public:
  struct Device {
    int64_t bytes = 0, peak = 0, allocations = 0, largest = 0;
  };

  void Add(PJRT_Buffer* buffer, PJRT_Device* device, int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!buffers_.try_emplace(buffer, Entry{device, bytes}).second) return;
    Device& it = devices_[device];
    it.bytes += bytes;
    it.peak = std::max(it.peak, it.bytes);
    it.allocations += 1;
    it.largest = std::max(it.largest, bytes);
  }

  void Remove(PJRT_Buffer* buffer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = buffers_.find(buffer);
    if (found == buffers_.end()) return;
    devices_[found->second.device].bytes -= found->second.bytes;
    buffers_.erase(found);
  }

  Device Of(PJRT_Device* device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return devices_[device];
  }

 private:
  struct Entry {
    PJRT_Device* device;
    int64_t bytes;
  };
  std::mutex mutex_;
  std::unordered_map<PJRT_Buffer*, Entry> buffers_;
  std::unordered_map<PJRT_Device*, Device> devices_;
};

Ledger& TheLedger() {
  static Ledger* ledger = new Ledger;  // never destroyed: buffers may go after static destructors have run
  return *ledger;
}

bool IsInDeviceMemory(PJRT_Buffer* buffer) {
  auto memory = Sized<PJRT_Buffer_Memory_Args>(PJRT_Buffer_Memory_Args_STRUCT_SIZE);
  memory.buffer = buffer;
  if (Error error{Inner().PJRT_Buffer_Memory(&memory)}) return true;
  auto kind = Sized<PJRT_Memory_Kind_Args>(PJRT_Memory_Kind_Args_STRUCT_SIZE);
  kind.memory = memory.memory;
  if (Error error{Inner().PJRT_Memory_Kind(&kind)}) return true;
  return std::string_view(kind.kind, kind.kind_size) == "device";
}

// `Device.memory_stats()`; the CPU client has none.
PJRT_Error* MemoryStats(PJRT_Device_MemoryStats_Args* args) {
  const Ledger::Device device = TheLedger().Of(args->device);
  args->bytes_in_use = device.bytes;
  args->peak_bytes_in_use = device.peak;
  args->peak_bytes_in_use_is_set = true;
  args->num_allocs = device.allocations;
  args->num_allocs_is_set = true;
  args->largest_alloc_size = device.largest;
  args->largest_alloc_size_is_set = true;
  args->bytes_limit = kHbmBytes;
  args->bytes_limit_is_set = true;
  args->bytes_reserved_is_set = args->peak_bytes_reserved_is_set = false;
  args->bytes_reservable_limit_is_set = args->largest_free_block_bytes_is_set = false;
  args->pool_bytes_is_set = args->peak_pool_bytes_is_set = false;
  return nullptr;
}

// The ways in which a buffer comes to be, besides Execute.
PJRT_Error* BufferFromHostBuffer(PJRT_Client_BufferFromHostBuffer_Args* args) {
  PJRT_Error* error = Inner().PJRT_Client_BufferFromHostBuffer(args);
  if (error == nullptr) CountBuffer(args->buffer);
  return error;
}

PJRT_Error* CreateUninitializedBuffer(PJRT_Client_CreateUninitializedBuffer_Args* args) {
  PJRT_Error* error = Inner().PJRT_Client_CreateUninitializedBuffer(args);
  if (error == nullptr) CountBuffer(args->buffer);
  return error;
}

PJRT_Error* CopyToDevice(PJRT_Buffer_CopyToDevice_Args* args) {
  PJRT_Error* error = Inner().PJRT_Buffer_CopyToDevice(args);
  if (error == nullptr) CountBuffer(args->dst_buffer);
  return error;
}

PJRT_Error* CopyToMemory(PJRT_Buffer_CopyToMemory_Args* args) {
  PJRT_Error* error = Inner().PJRT_Buffer_CopyToMemory(args);
  if (error == nullptr) CountBuffer(args->dst_buffer);
  return error;
}

PJRT_Error* RetrieveBuffer(PJRT_AsyncHostToDeviceTransferManager_RetrieveBuffer_Args* args) {
  PJRT_Error* error = Inner().PJRT_AsyncHostToDeviceTransferManager_RetrieveBuffer(args);
  if (error == nullptr) CountBuffer(args->buffer_out);
  return error;
}

// And the two in which it goes, besides donation. Out of the ledger first: its address may be another's next.
PJRT_Error* DestroyBuffer(PJRT_Buffer_Destroy_Args* args) {
  TheLedger().Remove(args->buffer);
  return Inner().PJRT_Buffer_Destroy(args);
}

PJRT_Error* DeleteBuffer(PJRT_Buffer_Delete_Args* args) {
  TheLedger().Remove(args->buffer);
  return Inner().PJRT_Buffer_Delete(args);
}

}  // namespace

void CountBuffer(PJRT_Buffer* buffer) {
  if (buffer == nullptr || !IsInDeviceMemory(buffer)) return;
  auto device = Sized<PJRT_Buffer_Device_Args>(PJRT_Buffer_Device_Args_STRUCT_SIZE);
  device.buffer = buffer;
  if (Error error{Inner().PJRT_Buffer_Device(&device)}) return;
  auto size = Sized<PJRT_Buffer_OnDeviceSizeInBytes_Args>(PJRT_Buffer_OnDeviceSizeInBytes_Args_STRUCT_SIZE);
  size.buffer = buffer;
  if (Error error{Inner().PJRT_Buffer_OnDeviceSizeInBytes(&size)}) return;
  TheLedger().Add(buffer, device.device, static_cast<int64_t>(size.on_device_size_in_bytes));
}

void ForgetIfDeleted(PJRT_Buffer* buffer) {
  auto args = Sized<PJRT_Buffer_IsDeleted_Args>(PJRT_Buffer_IsDeleted_Args_STRUCT_SIZE);
  args.buffer = buffer;
  if (Error error{Inner().PJRT_Buffer_IsDeleted(&args)}) return;
  if (args.is_deleted) TheLedger().Remove(buffer);
}

void WrapDeviceMemory(PJRT_Api& table) {
  table.PJRT_Device_MemoryStats = MemoryStats;
  table.PJRT_Client_BufferFromHostBuffer = BufferFromHostBuffer;
  table.PJRT_Client_CreateUninitializedBuffer = CreateUninitializedBuffer;
  table.PJRT_Buffer_CopyToDevice = CopyToDevice;
  table.PJRT_Buffer_CopyToMemory = CopyToMemory;
  table.PJRT_AsyncHostToDeviceTransferManager_RetrieveBuffer = RetrieveBuffer;
  table.PJRT_Buffer_Destroy = DestroyBuffer;
  table.PJRT_Buffer_Delete = DeleteBuffer;
}

}  // namespace pangu_ascend
