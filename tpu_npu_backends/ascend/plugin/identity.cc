#include "identity.h"

#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "inner_plugin.h"

namespace pangu_ascend {
namespace {

// JAX takes the platform's name from here, its id is a hash of it, and lowering rules follow from it.
constexpr std::string_view kPlatform = "npu";
constexpr std::string_view kDeviceKind = "Ascend910B1";

const std::string& PlatformVersionText() {
  static const std::string text =
      "pangu_jax Ascend plugin: execution is SIMULATED on the CPU by XLA, no Ascend device is used (inner "
      "CPU plugin: PJRT API " +
      std::to_string(Inner().pjrt_api_version.major_version) + "." +
      std::to_string(Inner().pjrt_api_version.minor_version) + ")";
  return text;
}

// Texts that the API hands out must outlive the caller: each is kept once, until the process ends.
const std::string& Kept(std::string text) {
  static std::mutex mutex;
  static std::set<std::string> texts;
  const std::lock_guard<std::mutex> lock(mutex);
  return *texts.insert(std::move(text)).first;
}

PJRT_Error* ClientPlatformName(PJRT_Client_PlatformName_Args* args) {
  args->platform_name = kPlatform.data();
  args->platform_name_size = kPlatform.size();
  return nullptr;
}

// Part of the key of JAX's compilation cache: programs of the real CPU platform are never mistaken for ours.
PJRT_Error* ClientPlatformVersion(PJRT_Client_PlatformVersion_Args* args) {
  args->platform_version = PlatformVersionText().data();
  args->platform_version_size = PlatformVersionText().size();
  return nullptr;
}

// A topology tells the same name as its client, or lowering for it would be for "cpu".
PJRT_Error* TopologyPlatformName(PJRT_TopologyDescription_PlatformName_Args* args) {
  args->platform_name = kPlatform.data();
  args->platform_name_size = kPlatform.size();
  return nullptr;
}

PJRT_Error* TopologyPlatformVersion(PJRT_TopologyDescription_PlatformVersion_Args* args) {
  args->platform_version = PlatformVersionText().data();
  args->platform_version_size = PlatformVersionText().size();
  return nullptr;
}

// `jax.Device.device_kind`.
PJRT_Error* DeviceKind(PJRT_DeviceDescription_Kind_Args* args) {
  args->device_kind = kDeviceKind.data();
  args->device_kind_size = kDeviceKind.size();
  return nullptr;
}

Error DeviceId(PJRT_DeviceDescription* description, int* id) {
  auto args = Sized<PJRT_DeviceDescription_Id_Args>(PJRT_DeviceDescription_Id_Args_STRUCT_SIZE);
  args.device_description = description;
  Error error(Inner().PJRT_DeviceDescription_Id(&args));
  *id = args.id;
  return error;
}

// `repr(device)`, which would say CpuDevice.
PJRT_Error* DeviceToString(PJRT_DeviceDescription_ToString_Args* args) {
  int id = 0;
  if (Error error = DeviceId(args->device_description, &id)) return error.release();
  const std::string& text = Kept("NpuDevice(id=" + std::to_string(id) + ", simulated)");
  args->to_string = text.data();
  args->to_string_size = text.size();
  return nullptr;
}

// `str(device)`, which would say TFRT_CPU_0.
PJRT_Error* DeviceDebugString(PJRT_DeviceDescription_DebugString_Args* args) {
  int id = 0;
  if (Error error = DeviceId(args->device_description, &id)) return error.release();
  const std::string& text = Kept("NPU_" + std::to_string(id));
  args->debug_string = text.data();
  args->debug_string_size = text.size();
  return nullptr;
}

// Such as "npu memory 3 (device, simulated)". The kinds themselves ("device", "pinned_host") are JAX's words
// for every platform and stay.
Error DescribeMemory(PJRT_Memory* memory, const std::string** text) {
  auto id = Sized<PJRT_Memory_Id_Args>(PJRT_Memory_Id_Args_STRUCT_SIZE);
  id.memory = memory;
  if (Error error{Inner().PJRT_Memory_Id(&id)}) return error;
  auto kind = Sized<PJRT_Memory_Kind_Args>(PJRT_Memory_Kind_Args_STRUCT_SIZE);
  kind.memory = memory;
  if (Error error{Inner().PJRT_Memory_Kind(&kind)}) return error;
  *text = &Kept("npu memory " + std::to_string(id.id) + " (" + std::string(kind.kind, kind.kind_size) +
                ", simulated)");
  return nullptr;
}

PJRT_Error* MemoryToString(PJRT_Memory_ToString_Args* args) {
  const std::string* text = nullptr;
  if (Error error = DescribeMemory(args->memory, &text)) return error.release();
  args->to_string = text->data();
  args->to_string_size = text->size();
  return nullptr;
}

PJRT_Error* MemoryDebugString(PJRT_Memory_DebugString_Args* args) {
  const std::string* text = nullptr;
  if (Error error = DescribeMemory(args->memory, &text)) return error.release();
  args->debug_string = text->data();
  args->debug_string_size = text->size();
  return nullptr;
}

}  // namespace

void WrapIdentity(PJRT_Api& table) {
  table.PJRT_Client_PlatformName = ClientPlatformName;
  table.PJRT_Client_PlatformVersion = ClientPlatformVersion;
  table.PJRT_TopologyDescription_PlatformName = TopologyPlatformName;
  table.PJRT_TopologyDescription_PlatformVersion = TopologyPlatformVersion;
  table.PJRT_DeviceDescription_Kind = DeviceKind;
  table.PJRT_DeviceDescription_ToString = DeviceToString;
  table.PJRT_DeviceDescription_DebugString = DeviceDebugString;
  table.PJRT_Memory_ToString = MemoryToString;
  table.PJRT_Memory_DebugString = MemoryDebugString;
}

}  // namespace pangu_ascend
