// The face towards TVM: the device API of "webgpu", and the global functions that Python and TVM call.
#include <tvm/ffi/function.h>
#include <tvm/runtime/device_api.h>

#include <cstring>

#include "context.h"
#include "launch.h"
#include "memory.h"
#include "module.h"
#include "recorder.h"

namespace duomem::vulkan {
namespace ffi = tvm::ffi;
namespace {

using tvm::Device;
using tvm::runtime::DeviceAttrKind;

// Device numbers are positions in Adapters().
class WebGPUDeviceAPI final : public tvm::runtime::DeviceAPI {
 public:
  void SetDevice(Device) final {}

  void GetAttr(Device device, DeviceAttrKind kind, ffi::Any* value) final {
    const auto& adapters = Adapters();
    const bool exists = device.device_id >= 0 && device.device_id < static_cast<int>(adapters.size());
    if (kind == tvm::runtime::kExist) {
      *value = static_cast<int64_t>(exists);
      return;
    }
    if (!exists) return;
    const Adapter& adapter = adapters[device.device_id];
    switch (kind) {
      case tvm::runtime::kMaxThreadsPerBlock:
        *value = static_cast<int64_t>(adapter.limits.maxComputeInvocationsPerWorkgroup);
        break;
      case tvm::runtime::kWarpSize: *value = static_cast<int64_t>(1); break;
      case tvm::runtime::kMaxSharedMemoryPerBlock:
        *value = static_cast<int64_t>(adapter.limits.maxComputeWorkgroupStorageSize);
        break;
      case tvm::runtime::kDeviceName: *value = ffi::String(adapter.name); break;
      default: break;
    }
  }

  void* AllocDataSpace(Device device, size_t bytes, size_t, DLDataType) final {
    return Allocate(Context::Get(device.device_id), bytes);
  }
  void FreeDataSpace(Device, void* data) final { Free(static_cast<Buffer*>(data)); }

  void StreamSync(Device device, TVMStreamHandle) final {
    Context& context = Context::Get(device.device_id);
    Lock lock(context.mutex);
    context.Synchronize();
  }

 protected:
  void CopyDataFromTo(const void* from, size_t from_offset, void* to, size_t to_offset, size_t bytes, Device from_device,
                      Device to_device, DLDataType, TVMStreamHandle) final {
    const bool reads = from_device.device_type == kDLWebGPU, writes = to_device.device_type == kDLWebGPU;
    auto* source = static_cast<Buffer*>(const_cast<void*>(from));
    if (reads && writes) {
      CopyOnDevice(source, from_offset, static_cast<Buffer*>(to), to_offset, bytes);
    } else if (reads) {
      CopyToHost(source, from_offset, static_cast<char*>(to) + to_offset, bytes);
    } else {
      CopyToDevice(static_cast<const char*>(from) + from_offset, static_cast<Buffer*>(to), to_offset, bytes);
    }
  }
};

ffi::Array<ffi::Any> DescribeAdapters() {
  ffi::Array<ffi::Any> all;
  const auto& adapters = Adapters();
  for (size_t i = 0; i < adapters.size(); ++i) all.push_back(adapters[i].Describe(static_cast<int>(i)));
  return all;
}

ffi::Map<ffi::String, ffi::Any> Statistics(int64_t index) {
  ffi::Map<ffi::String, ffi::Any> out;
  Context& context = Context::Get(static_cast<int>(index));
  Lock lock(context.mutex);
  auto count = [&](const char* name, uint64_t value) { out.Set(name, static_cast<int64_t>(value)); };
  count("dispatches", context.counters.dispatches);
  count("submits", context.counters.submits);
  count("bind_groups_made", context.counters.bind_groups);
  count("bind_groups", context.kernels->bind_groups());
  count("pipelines", context.counters.pipelines);
  out.Set("pipeline_seconds", context.counters.pipeline_seconds);
  count("buffers", context.buffers);
  count("bytes", context.bytes_allocated);
  count("bytes_peak", context.bytes_peak);
  return out;
}

// For tests: what a GPU reset does. With `in_submission`, wgpu meets the loss inside a submission, and panics.
void LoseDevice(int64_t index, bool in_submission) {
  Context& context = Context::Get(static_cast<int>(index));
  Lock lock(context.mutex);
  context.Synchronize();
  context.Guard([&] {
    wgpuDeviceDestroy(context.device);
    if (in_submission) wgpuQueueSubmit(context.queue, 0, nullptr);
  });
}

constexpr const char* kMark = "duomem_vulkan.gpus";

void Register() {
  if (ffi::Function::GetGlobal(kMark).has_value()) return;  // loaded before, perhaps from another copy of this file
  TVM_FFI_CHECK(!ffi::Function::GetGlobal("device_api.webgpu").has_value(), RuntimeError)
      << "TVM already has a webgpu runtime that is not duomem-vulkan";
  ffi::Function::SetGlobal("ffi.Module.load_from_bytes.webgpu", ffi::Function::FromTyped(&WebGPUModule::Load));
  ffi::Function::SetGlobal("device_api.webgpu", ffi::Function::FromPacked([](ffi::PackedArgs, ffi::Any* value) {
                             static auto* api = new WebGPUDeviceAPI();
                             *value = static_cast<void*>(static_cast<tvm::runtime::DeviceAPI*>(api));
                           }));
  ffi::Function::SetGlobal("duomem_vulkan.statistics", ffi::Function::FromTyped(&Statistics));
  ffi::Function::SetGlobal("duomem_vulkan.prepare", ffi::Function::FromTyped(&PrepareModule));
  ffi::Function::SetGlobal("duomem_vulkan.lose_device", ffi::Function::FromTyped(&LoseDevice));
  ffi::Function::SetGlobal(kMark, ffi::Function::FromTyped(&DescribeAdapters));
}

}  // namespace
}  // namespace duomem::vulkan

// Registers the plugin with the TVM runtime of this process. Calling it again does nothing. Returns null, or the
// reason why not (valid until the next call).
extern "C" __attribute__((visibility("default"))) const char* duomem_vulkan_register() {
  static std::string reason;
  try {
    duomem::vulkan::Register();
    return nullptr;
  } catch (const std::exception& error) {
    reason = error.what();
    return reason.c_str();
  }
}
