#include "host_array.h"

#include <numeric>

namespace pangu_ascend {

PanguArray HostArray::View() const {
  return {bytes.data(), bytes.size(), static_cast<int32_t>(type), dims.size(), dims.data()};
}

Error CopyToHost(PJRT_Buffer* buffer, HostArray* array) {
  auto type = Sized<PJRT_Buffer_ElementType_Args>(PJRT_Buffer_ElementType_Args_STRUCT_SIZE);
  type.buffer = buffer;
  if (Error error{Inner().PJRT_Buffer_ElementType(&type)}) return error;
  array->type = type.type;

  auto shape = Sized<PJRT_Buffer_Dimensions_Args>(PJRT_Buffer_Dimensions_Args_STRUCT_SIZE);
  shape.buffer = buffer;
  if (Error error{Inner().PJRT_Buffer_Dimensions(&shape)}) return error;
  array->dims.assign(shape.dims, shape.dims + shape.num_dims);

  std::vector<int64_t> minor_to_major(shape.num_dims);
  std::iota(minor_to_major.rbegin(), minor_to_major.rend(), int64_t{0});
  auto layout = Sized<PJRT_Buffer_MemoryLayout>(PJRT_Buffer_MemoryLayout_STRUCT_SIZE);
  layout.type = PJRT_Buffer_MemoryLayout_Type_Tiled;
  layout.tiled.struct_size = PJRT_Buffer_MemoryLayout_Tiled_STRUCT_SIZE;
  layout.tiled.minor_to_major = minor_to_major.data();
  layout.tiled.minor_to_major_size = minor_to_major.size();

  auto copy = Sized<PJRT_Buffer_ToHostBuffer_Args>(PJRT_Buffer_ToHostBuffer_Args_STRUCT_SIZE);
  copy.src = buffer;
  copy.host_layout = &layout;
  if (Error error{Inner().PJRT_Buffer_ToHostBuffer(&copy)}) return error;  // asks for the size only
  array->bytes.resize(copy.dst_size);
  copy.dst = array->bytes.data();
  if (Error error{Inner().PJRT_Buffer_ToHostBuffer(&copy)}) return error;
  const Event copied(copy.event);
  return Await(copied.get());
}

}  // namespace pangu_ascend
