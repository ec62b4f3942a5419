// Compute pipelines and bind groups, and the callable that launches one kernel with TVM's packed arguments.
#pragma once
#include <tvm/ffi/any.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "context.h"
#include "memory.h"

namespace duomem::vulkan {

// What TVM's webgpu code generator says about one kernel.
struct KernelInfo {
  std::string name;                     // entry point in the WGSL
  std::vector<DLDataType> arguments;    // an opaque handle for each buffer, else a scalar
  std::vector<std::string> launch_tags; // blockIdx.*, threadIdx.*, paramWriteAccess:[..]
};

// One compiled kernel of one context.
struct Pipeline {
  WGPUComputePipeline handle = nullptr;
  WGPUBindGroupLayout layout = nullptr;
  uint64_t id = 0;
};

// The compiled kernels and bind groups of one context.
class Kernels {
 public:
  explicit Kernels(Context& context) : context_(context) {}
  // The pipeline of this WGSL text with this binding layout, compiled on first use. Throws ValueError with the compiler's message.
  const Pipeline& Compile(const std::string& wgsl, const std::string& entry, const std::vector<bool>& writes,
                          uint64_t uniform_bytes);
  WGPUBindGroup Bind(const Pipeline& pipeline, const std::vector<Buffer*>& buffers, uint64_t uniform_bytes);
  // Drops the bind groups that hold this buffer.
  void Forget(uint64_t buffer_id);
  size_t bind_groups() const { return bind_groups_.size(); }

 private:
  static constexpr size_t kMaxBindGroups = 8192;
  using Key = std::vector<uint64_t>;  // pipeline id, then buffer ids
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  Context& context_;
  std::unordered_map<std::string, std::unique_ptr<Pipeline>> pipelines_;
  std::unordered_map<Key, WGPUBindGroup, Hash> bind_groups_;
  Key scratch_;
};

// Launches one kernel on the device that its buffers live on. Arguments: the kernel's own, then its launch dimensions.
class Launcher {
 public:
  // Throws ValueError for tags or argument types that the plugin does not know.
  Launcher(KernelInfo info, std::shared_ptr<const std::string> wgsl);
  void operator()(const tvm::ffi::AnyView* arguments, int32_t count);
  // Compiles for device number `index` without launching.
  void Prepare(Context& context);

 private:
  KernelInfo info_;
  std::shared_ptr<const std::string> wgsl_;
  std::vector<int> buffer_arguments_, scalar_arguments_;
  std::vector<int> dimensions_;  // of each launch argument: 0-2 block x, y, z; 3-5 thread x, y, z
  std::vector<bool> writes_;
  uint64_t uniform_bytes_;
  std::mutex mutex_;  // guards what follows; taken before a context's
  std::vector<Buffer*> buffers_;
  std::unordered_map<Context*, const Pipeline*> pipelines_;

  const Pipeline& PipelineOf(Context& context);
  void WriteScalars(const tvm::ffi::AnyView* arguments, uint32_t last_block_x, char* to) const;
};

}  // namespace duomem::vulkan
