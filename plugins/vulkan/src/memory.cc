#include "memory.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "launch.h"
#include "recorder.h"

namespace duomem::vulkan {
namespace {

constexpr uint64_t kStagingBytes = 8 << 20;

void CheckRange(const Buffer* buffer, uint64_t offset, uint64_t bytes) {
  TVM_FFI_CHECK(buffer && offset <= buffer->size && bytes <= buffer->size - offset, ValueError)
      << "webgpu: copy of " << bytes << " bytes at offset " << offset << " leaves a buffer of "
      << (buffer ? buffer->size : 0);
}

// Releases a wgpu buffer on scope exit.
using Staging = std::unique_ptr<std::remove_pointer_t<WGPUBuffer>, decltype(&wgpuBufferRelease)>;

// Offset and size are multiples of 4, size at most kStagingBytes.
void ReadAligned(Buffer* from, uint64_t offset, char* to, uint64_t bytes) {
  Context& context = *from->context;
  WGPUBufferDescriptor descriptor{};
  descriptor.size = bytes;
  descriptor.usage = WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst;
  Staging staging(wgpuDeviceCreateBuffer(context.device, &descriptor), &wgpuBufferRelease);
  context.Check();
  context.recorder->Copy(from->handle, offset, staging.get(), 0, bytes);
  context.recorder->Submit();
  struct Answer {
    bool done = false, ok = false;
    std::string message;
  } answer;
  WGPUBufferMapCallbackInfo callback{};
  callback.mode = WGPUCallbackMode_AllowSpontaneous;
  callback.userdata1 = &answer;
  callback.callback = [](WGPUMapAsyncStatus status, WGPUStringView message, void* data, void*) {
    *static_cast<Answer*>(data) = {true, status == WGPUMapAsyncStatus_Success, Text(message)};
  };
  context.Guard([&] { wgpuBufferMapAsync(staging.get(), WGPUMapMode_Read, 0, bytes, callback); });
  while (!answer.done) context.Poll();
  context.Check();
  TVM_FFI_CHECK(answer.ok, RuntimeError) << "webgpu: reading a buffer back failed: " << answer.message;
  std::memcpy(to, wgpuBufferGetConstMappedRange(staging.get(), 0, bytes), bytes);
  wgpuBufferUnmap(staging.get());
}

}  // namespace

Buffer* Allocate(Context& context, uint64_t bytes) {
  Lock lock(context.mutex);
  const WGPULimits& limits = context.adapter.limits;
  uint64_t size = RoundUp(std::max<uint64_t>(bytes, 4), 16);
  uint64_t limit = std::min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  TVM_FFI_CHECK(bytes <= limit && size <= limit, MemoryError)
      << "webgpu: a buffer of " << bytes << " bytes exceeds "
      << (limit == limits.maxBufferSize ? "maxBufferSize" : "maxStorageBufferBindingSize") << " = " << limit << " of "
      << context.adapter.name << ": split the tensor, or take a smaller quantisation or context";
  context.Check();
  WGPUBufferDescriptor descriptor{};
  descriptor.size = size;
  descriptor.usage = WGPUBufferUsage_Storage | WGPUBufferUsage_CopySrc | WGPUBufferUsage_CopyDst;
  WGPUBuffer handle = wgpuDeviceCreateBuffer(context.device, &descriptor);
  try {
    context.Check();
  } catch (...) {
    if (handle) wgpuBufferRelease(handle);
    throw;
  }
  TVM_FFI_CHECK(handle, MemoryError) << "webgpu: no buffer of " << size << " bytes";
  context.bytes_allocated += size;
  context.bytes_peak = std::max(context.bytes_peak, context.bytes_allocated);
  ++context.buffers;
  return new Buffer{&context, handle, size, context.next_buffer_id++, false};
}

void Free(Buffer* buffer) {
  if (!buffer) return;
  Context& context = *buffer->context;
  Lock lock(context.mutex);
  if (!context.lost()) {  // what a lost device holds goes with the process
    if (buffer->bound) context.kernels->Forget(buffer->id);
    wgpuBufferRelease(buffer->handle);  // wgpu keeps it alive while recorded or submitted work uses it
  }
  context.bytes_allocated -= buffer->size;
  --context.buffers;
  delete buffer;
}

void CopyToHost(Buffer* from, uint64_t offset, void* to, uint64_t bytes) {
  if (bytes == 0) return;
  CheckRange(from, offset, bytes);
  Lock lock(from->context->mutex);
  auto* out = static_cast<char*>(to);
  std::vector<char> bounce;
  for (uint64_t done = 0; done < bytes;) {
    uint64_t start = (offset + done) / 4 * 4, skip = offset + done - start;
    uint64_t span = std::min(RoundUp(offset + bytes, 4) - start, kStagingBytes);
    uint64_t useful = std::min(span - skip, bytes - done);
    if (skip == 0 && useful == span) {
      ReadAligned(from, start, out + done, span);
    } else {
      bounce.resize(span);
      ReadAligned(from, start, bounce.data(), span);
      std::memcpy(out + done, bounce.data() + skip, useful);
    }
    done += useful;
  }
}

void CopyToDevice(const void* from, Buffer* to, uint64_t offset, uint64_t bytes) {
  if (bytes == 0) return;
  CheckRange(to, offset, bytes);
  Lock lock(to->context->mutex);
  Recorder& recorder = *to->context->recorder;
  uint64_t start = offset / 4 * 4, end = RoundUp(offset + bytes, 4);
  if (start == offset && end == offset + bytes) {
    recorder.Write(to->handle, offset, from, bytes);
    return;
  }
  // Words shared with neighbours at either end are read first and written back whole.
  std::vector<char> words(end - start);
  if (start != offset) ReadAligned(to, start, words.data(), 4);
  if (end != offset + bytes) ReadAligned(to, end - 4, words.data() + words.size() - 4, 4);
  std::memcpy(words.data() + (offset - start), from, bytes);
  recorder.Write(to->handle, start, words.data(), words.size());
}

void CopyOnDevice(Buffer* from, uint64_t from_offset, Buffer* to, uint64_t to_offset, uint64_t bytes) {
  if (bytes == 0) return;
  CheckRange(from, from_offset, bytes);
  CheckRange(to, to_offset, bytes);
  bool aligned = from_offset % 4 == 0 && to_offset % 4 == 0 && bytes % 4 == 0;
  if (from->context == to->context && from != to && aligned) {
    Lock lock(from->context->mutex);
    from->context->recorder->Copy(from->handle, from_offset, to->handle, to_offset, bytes);
    return;
  }
  std::vector<char> bounce(bytes);
  CopyToHost(from, from_offset, bounce.data(), bytes);
  CopyToDevice(bounce.data(), to, to_offset, bytes);
}

}  // namespace duomem::vulkan
