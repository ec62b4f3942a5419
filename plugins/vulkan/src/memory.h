// Device buffers, and copies between them and the host at any byte offset and size.
#pragma once
#include <cstddef>
#include <cstdint>

#include "context.h"

namespace duomem::vulkan {

// What a TVM tensor's data pointer points to on this device. 64-byte aligned: TVM checks the pointer's alignment.
struct alignas(64) Buffer {
  Context* context;
  WGPUBuffer handle;
  uint64_t size;  // bytes, padded to 16
  uint64_t id;    // never used again after the buffer is freed
  bool bound;     // ever part of a bind group
};

// Throws MemoryError for a size above the adapter's limits (named in the message) or when the device has no room.
Buffer* Allocate(Context& context, uint64_t bytes);
// Never throws: what goes wrong is raised by the next call. Null is allowed.
void Free(Buffer* buffer);

void CopyToDevice(const void* from, Buffer* to, uint64_t offset, uint64_t bytes);
void CopyToHost(Buffer* from, uint64_t offset, void* to, uint64_t bytes);
void CopyOnDevice(Buffer* from, uint64_t from_offset, Buffer* to, uint64_t to_offset, uint64_t bytes);

}  // namespace duomem::vulkan
