#include "recorder.h"

#include <cstring>

namespace duomem::vulkan {

Recorder::Recorder(Context& context) : context_(context), ring_host_(kRingBytes) {
  WGPUBufferDescriptor descriptor{};
  descriptor.size = kRingBytes;
  descriptor.usage = WGPUBufferUsage_Uniform | WGPUBufferUsage_CopyDst | WGPUBufferUsage_CopySrc;
  ring_ = wgpuDeviceCreateBuffer(context_.device, &descriptor);
  context_.Check();
}

WGPUCommandEncoder Recorder::Encoder() {
  if (!encoder_) {
    WGPUCommandEncoderDescriptor descriptor{};
    encoder_ = wgpuDeviceCreateCommandEncoder(context_.device, &descriptor);
  }
  return encoder_;
}

void Recorder::EndPass() {
  if (!pass_) return;
  wgpuComputePassEncoderEnd(pass_);
  wgpuComputePassEncoderRelease(pass_);
  pass_ = nullptr;
}

Recorder::Slot Recorder::Reserve(uint64_t bytes, uint64_t alignment) {
  uint64_t start = RoundUp(ring_used_, alignment);
  if (start + bytes > kRingBytes || pending_ >= kMaxPending) {
    Submit();
    start = 0;
  }
  ring_used_ = start + bytes;
  return {static_cast<uint32_t>(start), ring_host_.data() + start};
}

void Recorder::Dispatch(WGPUComputePipeline pipeline, WGPUBindGroup bind_group, uint32_t uniform_offset,
                        const uint32_t grid[3]) {
  if (!pass_) {
    WGPUComputePassDescriptor descriptor{};
    pass_ = wgpuCommandEncoderBeginComputePass(Encoder(), &descriptor);
  }
  wgpuComputePassEncoderSetPipeline(pass_, pipeline);
  wgpuComputePassEncoderSetBindGroup(pass_, 0, bind_group, 1, &uniform_offset);
  wgpuComputePassEncoderDispatchWorkgroups(pass_, grid[0], grid[1], grid[2]);
  ++context_.counters.dispatches;
  ++pending_;
}

void Recorder::Copy(WGPUBuffer from, uint64_t from_offset, WGPUBuffer to, uint64_t to_offset, uint64_t bytes) {
  EndPass();
  wgpuCommandEncoderCopyBufferToBuffer(Encoder(), from, from_offset, to, to_offset, bytes);
}

void Recorder::Write(WGPUBuffer to, uint64_t offset, const void* from, uint64_t bytes) {
  if (bytes <= kRingWriteBytes) {
    Slot slot = Reserve(bytes, 16);
    std::memcpy(slot.host, from, bytes);
    Copy(ring_, slot.offset, to, offset, bytes);
    return;
  }
  Submit();  // a queue write runs before anything that is not yet submitted
  constexpr uint64_t kChunk = 8 << 20;
  for (uint64_t done = 0; done < bytes; done += kChunk) {
    uint64_t size = bytes - done < kChunk ? bytes - done : kChunk;
    context_.Guard([&] {
      wgpuQueueWriteBuffer(context_.queue, to, offset + done, static_cast<const char*>(from) + done, size);
    });
    unsubmitted_writes_ += size;
    if (unsubmitted_writes_ >= kMaxUnsubmittedWrites) {  // wgpu frees its staging memory only once a submission ends
      context_.Guard([&] { wgpuQueueSubmit(context_.queue, 0, nullptr); });
      context_.Poll();
      unsubmitted_writes_ = 0;
    }
  }
}

void Recorder::Submit() {
  const uint64_t ring_used = ring_used_;
  ring_used_ = 0;
  pending_ = 0;
  context_.Guard([&] {
    EndPass();
    if (!encoder_) return;
    if (ring_used) wgpuQueueWriteBuffer(context_.queue, ring_, 0, ring_host_.data(), RoundUp(ring_used, 4));
    WGPUCommandBufferDescriptor descriptor{};
    WGPUCommandBuffer commands = wgpuCommandEncoderFinish(encoder_, &descriptor);
    wgpuCommandEncoderRelease(encoder_);
    encoder_ = nullptr;
    wgpuQueueSubmit(context_.queue, 1, &commands);
    wgpuCommandBufferRelease(commands);
    unsubmitted_writes_ = 0;
    ++context_.counters.submits;
    wgpuDevicePoll(context_.device, false, nullptr);  // frees what finished submissions held
  });
}

}  // namespace duomem::vulkan
