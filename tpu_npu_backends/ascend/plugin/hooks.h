// What the plugin and the Python process that registers it say to each other. Plain C, for ctypes.

#ifndef PANGU_ASCEND_HOOKS_H_
#define PANGU_ASCEND_HOOKS_H_

#include <cstddef>
#include <cstdint>

extern "C" {

// A program as PJRT's Compile got it. Strings are not terminated and live as long as the call.
struct PanguProgram {
  uint64_t id;  // what `executed` is told later
  const char* code;
  size_t code_size;
  const char* format;  // "mlir": StableHLO as portable bytecode
  size_t format_size;
  const char* name;
  size_t name_size;
  int64_t replicas;
  int64_t partitions;
};

// An array in host memory, row-major.
struct PanguArray {
  const void* data;
  size_t size;   // bytes
  int32_t type;  // PJRT_Buffer_Type
  size_t rank;
  const int64_t* dims;
};

// What a hook answers. With kPanguRefuse it has written why, as terminated UTF-8 text, into `said`.
enum PanguAnswer { kPanguGoOn = 0, kPanguWatchExecutions = 1, kPanguRefuse = 2 };

// Any of them may be null.
struct PanguHooks {
  // After the inner client has compiled a program.
  int (*compiled)(const PanguProgram* program, char* said, size_t said_size);
  // After a watched program ran on its one device, with its inputs as they were before.
  int (*executed)(uint64_t id, const PanguArray* inputs, size_t num_inputs, const PanguArray* outputs,
                  size_t num_outputs, char* said, size_t said_size);
  // When a program calls back: fills the outputs. From a thread of the inner client.
  int (*called)(uint64_t index, const PanguArray* inputs, size_t num_inputs, const PanguArray* outputs,
                size_t num_outputs, char* said, size_t said_size);
};

// Loads the inner CPU plugin and gives it what it lacks. Null when all is well, else one line that says what is wrong.
__attribute__((visibility("default"))) const char* pangu_ascend_open(const char* inner_path);

// From now on programs are shown to these; null takes them away. The functions must stay valid until then.
__attribute__((visibility("default"))) void pangu_ascend_set_hooks(const PanguHooks* hooks);

// Makes a function (XLA_FFI_Handler*) known to the inner client under a name that programs call. Answers
// kPanguGoOn, or kPanguRefuse with why in `said`.
__attribute__((visibility("default"))) int pangu_ascend_register_function(const char* name, void* handler,
                                                                          char* said, size_t said_size);

}  // extern "C"

#endif  // PANGU_ASCEND_HOOKS_H_
