// TVM's "webgpu" module: WGSL kernels with their launch facts, read from the bytes that TVM's compiler wrote.
#pragma once
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "launch.h"

namespace duomem::vulkan {

class WebGPUModule final : public tvm::ffi::ModuleObj {
 public:
  const char* kind() const final { return "webgpu"; }
  int GetPropertyMask() const final {
    return tvm::ffi::Module::kBinarySerializable | tvm::ffi::Module::kRunnable;
  }
  tvm::ffi::Bytes SaveToBytes() const final { return bytes_; }
  tvm::ffi::String InspectSource(const tvm::ffi::String& format) const final;
  tvm::ffi::Optional<tvm::ffi::Function> GetFunction(const tvm::ffi::String& name) final;
  bool ImplementsFunction(const tvm::ffi::String& name) final { return kernels_.count(std::string(name)) != 0; }

  // Compiles every kernel for this context; returns how many there are.
  int64_t Prepare(Context& context) const;

  // Reads `[kernel table][source table]`, little-endian, lengths as u64. Throws ValueError where the bytes are not that.
  static tvm::ffi::Module Load(const tvm::ffi::Bytes& bytes);

 private:
  struct Kernel {
    KernelInfo info;
    std::shared_ptr<const std::string> wgsl;
  };
  tvm::ffi::Bytes bytes_;
  std::map<std::string, Kernel> kernels_;
};

// Compiles every kernel of `module` and of what it imports for device number `index` ahead of the first launch.
// Returns how many there are.
int64_t PrepareModule(const tvm::ffi::Module& module, int64_t index);

}  // namespace duomem::vulkan
