// Records dispatches and copies into one command encoder and submits them in batches, in program order.
#pragma once
#include <cstdint>
#include <vector>

#include "context.h"

namespace duomem::vulkan {

class Recorder {
 public:
  explicit Recorder(Context& context);

  // Room for one dispatch's uniform arguments; `write` them through the pointer before the next call.
  struct Slot {
    uint32_t offset;  // bytes from the start of ring()
    char* host;
  };
  Slot Reserve(uint64_t bytes, uint64_t alignment);
  // Records one dispatch. `bind_group` has one dynamic offset, that of the uniform arguments.
  void Dispatch(WGPUComputePipeline pipeline, WGPUBindGroup bind_group, uint32_t uniform_offset, const uint32_t grid[3]);
  // Records a copy between device buffers: offsets and size are multiples of 4.
  void Copy(WGPUBuffer from, uint64_t from_offset, WGPUBuffer to, uint64_t to_offset, uint64_t bytes);
  // Writes host bytes into a buffer, ordered after what was recorded: offset and size are multiples of 4.
  void Write(WGPUBuffer to, uint64_t offset, const void* from, uint64_t bytes);
  // Hands everything recorded to the queue. Throws what wgpu reported.
  void Submit();

  WGPUBuffer ring() const { return ring_; }

 private:
  static constexpr uint64_t kRingBytes = 1 << 20;
  static constexpr uint64_t kRingWriteBytes = 1 << 16;  // larger writes go to the queue directly
  static constexpr uint64_t kMaxUnsubmittedWrites = 32 << 20;
  static constexpr int kMaxPending = 128;  // dispatches a submission: keeps the device busy while the host records

  Context& context_;
  WGPUCommandEncoder encoder_ = nullptr;
  WGPUComputePassEncoder pass_ = nullptr;
  WGPUBuffer ring_ = nullptr;
  std::vector<char> ring_host_;
  uint64_t ring_used_ = 0, unsubmitted_writes_ = 0;
  int pending_ = 0;

  WGPUCommandEncoder Encoder();
  void EndPass();
};

}  // namespace duomem::vulkan
