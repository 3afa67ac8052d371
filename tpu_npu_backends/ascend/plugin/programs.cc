#include "programs.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "device_memory.h"
#include "host_array.h"
#include "inner_plugin.h"

namespace pangu_ascend {
namespace {

std::mutex hooks_mutex;
std::optional<PanguHooks> current_hooks;

// What is known of a compiled program.
struct Facts {
  std::string name;
  size_t replicas = 1, partitions = 1, outputs = 0;
};

// `PJRT_Executable` is a handle of its own, to be freed by who asked for it.
class ExecutableHandle {
 public:
  explicit ExecutableHandle(PJRT_Executable* executable) : executable_(executable) {}
  ExecutableHandle(const ExecutableHandle&) = delete;
  ExecutableHandle& operator=(const ExecutableHandle&) = delete;
  ~ExecutableHandle() {
    auto args = Sized<PJRT_Executable_Destroy_Args>(PJRT_Executable_Destroy_Args_STRUCT_SIZE);
    args.executable = executable_;
    Error ignored(Inner().PJRT_Executable_Destroy(&args));
  }
  PJRT_Executable* get() const { return executable_; }

 private:
  PJRT_Executable* executable_;
};

Error AskFacts(PJRT_LoadedExecutable* loaded, Facts* facts) {
  auto get = Sized<PJRT_LoadedExecutable_GetExecutable_Args>(PJRT_LoadedExecutable_GetExecutable_Args_STRUCT_SIZE);
  get.loaded_executable = loaded;
  if (Error error{Inner().PJRT_LoadedExecutable_GetExecutable(&get)}) return error;
  const ExecutableHandle executable(get.executable);

  auto name = Sized<PJRT_Executable_Name_Args>(PJRT_Executable_Name_Args_STRUCT_SIZE);
  name.executable = executable.get();
  if (Error error{Inner().PJRT_Executable_Name(&name)}) return error;
  facts->name.assign(name.executable_name, name.executable_name_size);

  auto replicas = Sized<PJRT_Executable_NumReplicas_Args>(PJRT_Executable_NumReplicas_Args_STRUCT_SIZE);
  replicas.executable = executable.get();
  if (Error error{Inner().PJRT_Executable_NumReplicas(&replicas)}) return error;
  facts->replicas = replicas.num_replicas;

  auto partitions = Sized<PJRT_Executable_NumPartitions_Args>(PJRT_Executable_NumPartitions_Args_STRUCT_SIZE);
  partitions.executable = executable.get();
  if (Error error{Inner().PJRT_Executable_NumPartitions(&partitions)}) return error;
  facts->partitions = partitions.num_partitions;

  auto outputs = Sized<PJRT_Executable_NumOutputs_Args>(PJRT_Executable_NumOutputs_Args_STRUCT_SIZE);
  outputs.executable = executable.get();
  if (Error error{Inner().PJRT_Executable_NumOutputs(&outputs)}) return error;
  facts->outputs = outputs.num_outputs;
  return nullptr;
}

// The loaded programs: how many outputs each has, and under which number the hooks know those they watch.
class Registry {
 public:
  struct Entry {
    size_t outputs = 0;
    uint64_t watched = 0;  // 0: its executions are not shown
  };

  void Set(PJRT_LoadedExecutable* loaded, Entry entry) {
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_[loaded] = entry;
  }

  void Remove(PJRT_LoadedExecutable* loaded) {
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_.erase(loaded);
  }

  // Programs that were deserialised have not been seen before: they are asked.
  Error Get(PJRT_LoadedExecutable* loaded, Entry* entry) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto found = entries_.find(loaded); found != entries_.end()) {
        *entry = found->second;
        return nullptr;
      }
    }
    Facts facts;
    if (Error error = AskFacts(loaded, &facts)) return error;
    *entry = Entry{facts.outputs, 0};
    Set(loaded, *entry);
    return nullptr;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<PJRT_LoadedExecutable*, Entry> entries_;
};

Registry& TheRegistry() {
  static Registry* registry = new Registry;  // never destroyed: programs may go after static destructors ran
  return *registry;
}

using Said = std::array<char, 4096>;

Error Refusal(const Said& said) {
  // A refusal comes from verification, or from the compiler that could not: neither is the caller's argument.
  return MakeError(PJRT_Error_Code_INTERNAL, said.data());
}

void DestroyLoaded(PJRT_LoadedExecutable* loaded) {
  auto args = Sized<PJRT_LoadedExecutable_Destroy_Args>(PJRT_LoadedExecutable_Destroy_Args_STRUCT_SIZE);
  args.executable = loaded;
  Error ignored(Inner().PJRT_LoadedExecutable_Destroy(&args));
}

// Every program passes here, unpartitioned, as portable StableHLO bytecode. The inner client compiles it
// first: what it refuses needs no kernels.
PJRT_Error* Compile(PJRT_Client_Compile_Args* args) {
  if (PJRT_Error* error = Inner().PJRT_Client_Compile(args)) return error;
  Facts facts;
  if (Error error = AskFacts(args->executable, &facts)) {
    DestroyLoaded(std::exchange(args->executable, nullptr));
    return error.release();
  }
  Registry::Entry entry{facts.outputs, 0};
  if (const auto hooks = CurrentHooks(); hooks && hooks->compiled != nullptr) {
    static std::atomic<uint64_t> last_id{0};
    const uint64_t id = ++last_id;
    const PanguProgram program{id,
                               args->program->code,
                               args->program->code_size,
                               args->program->format,
                               args->program->format_size,
                               facts.name.data(),
                               facts.name.size(),
                               static_cast<int64_t>(facts.replicas),
                               static_cast<int64_t>(facts.partitions)};
    Said said{};
    const int answer = hooks->compiled(&program, said.data(), said.size());
    if (answer == kPanguRefuse) {
      DestroyLoaded(std::exchange(args->executable, nullptr));
      return Refusal(said).release();
    }
    if (answer == kPanguWatchExecutions) entry.watched = id;
  }
  TheRegistry().Set(args->executable, entry);
  return nullptr;
}

Error CopyAllToHost(PJRT_Buffer* const* buffers, size_t count, std::vector<HostArray>* arrays) {
  arrays->resize(count);
  for (size_t i = 0; i < count; ++i) {
    if (Error error = CopyToHost(buffers[i], &(*arrays)[i])) return error;
  }
  return nullptr;
}

std::vector<PanguArray> Views(const std::vector<HostArray>& arrays) {
  std::vector<PanguArray> views;
  views.reserve(arrays.size());
  for (const HostArray& array : arrays) views.push_back(array.View());
  return views;
}

// Who gets an error from Execute gets no outputs: they are freed here.
void DropResults(PJRT_LoadedExecutable_Execute_Args* args, size_t outputs) {
  for (size_t device = 0; device < args->num_devices; ++device) {
    for (size_t i = 0; i < outputs; ++i) {
      auto destroy = Sized<PJRT_Buffer_Destroy_Args>(PJRT_Buffer_Destroy_Args_STRUCT_SIZE);
      destroy.buffer = std::exchange(args->output_lists[device][i], nullptr);
      Error ignored(Inner().PJRT_Buffer_Destroy(&destroy));
    }
    if (args->device_complete_events != nullptr) {
      Event dropped(std::exchange(args->device_complete_events[device], nullptr));
    }
  }
}

// Runs a watched program and shows what went in and came out.
Error ExecuteWatched(PJRT_LoadedExecutable_Execute_Args* args, const Registry::Entry& entry,
                     const PanguHooks& hooks) {
  // Before: a donated input is gone afterwards.
  std::vector<HostArray> inputs, outputs;
  if (Error error = CopyAllToHost(args->argument_lists[0], args->num_args, &inputs)) return error;
  if (Error error{Inner().PJRT_LoadedExecutable_Execute(args)}) return error;
  Error error = CopyAllToHost(args->output_lists[0], entry.outputs, &outputs);
  if (!error) {
    const std::vector<PanguArray> before = Views(inputs), after = Views(outputs);
    Said said{};
    const int answer = hooks.executed(entry.watched, before.data(), before.size(), after.data(), after.size(),
                                      said.data(), said.size());
    if (answer == kPanguRefuse) error = Refusal(said);
  }
  if (error) DropResults(args, entry.outputs);
  return error;
}

// Shows the executions of watched programs, and keeps the ledger of device memory.
PJRT_Error* Execute(PJRT_LoadedExecutable_Execute_Args* args) {
  Registry::Entry entry;
  if (Error error = TheRegistry().Get(args->executable, &entry)) return error.release();
  const auto hooks = CurrentHooks();
  const bool watched = entry.watched != 0 && args->num_devices == 1 && hooks && hooks->executed != nullptr;
  Error error = watched ? ExecuteWatched(args, entry, *hooks)
                        : Error(Inner().PJRT_LoadedExecutable_Execute(args));
  for (size_t device = 0; device < args->num_devices; ++device) {
    for (size_t i = 0; i < args->num_args; ++i) ForgetIfDeleted(args->argument_lists[device][i]);
    if (error) continue;
    for (size_t i = 0; i < entry.outputs; ++i) CountBuffer(args->output_lists[device][i]);
  }
  return error.release();
}

// Its address may be another program's next: out of the registry first.
PJRT_Error* Destroy(PJRT_LoadedExecutable_Destroy_Args* args) {
  TheRegistry().Remove(args->executable);
  return Inner().PJRT_LoadedExecutable_Destroy(args);
}

}  // namespace

std::optional<PanguHooks> CurrentHooks() {
  const std::lock_guard<std::mutex> lock(hooks_mutex);
  return current_hooks;
}

void WrapPrograms(PJRT_Api& table) {
  table.PJRT_Client_Compile = Compile;
  table.PJRT_LoadedExecutable_Execute = Execute;
  table.PJRT_LoadedExecutable_Destroy = Destroy;
}

}  // namespace pangu_ascend

extern "C" void pangu_ascend_set_hooks(const PanguHooks* hooks) {
  const std::lock_guard<std::mutex> lock(pangu_ascend::hooks_mutex);
  pangu_ascend::current_hooks = hooks == nullptr ? std::nullopt : std::make_optional(*hooks);
}
