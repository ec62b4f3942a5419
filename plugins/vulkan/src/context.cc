#include "context.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "launch.h"
#include "recorder.h"

namespace duomem::vulkan {
namespace ffi = tvm::ffi;

std::string Text(WGPUStringView view) {
  if (view.data == nullptr) return {};
  return {view.data, view.length == WGPU_STRLEN ? std::strlen(view.data) : view.length};
}

namespace {

WGPUInstance Instance() {
  static WGPUInstance instance = [] {
    // Mesa's layer that puts devices in order asks a Wayland display and complains where there is none. Adapters()
    // does the ordering here.
    setenv("NODEVICE_SELECT", "1", 0);
    WGPUInstanceExtras extras{};
    extras.chain.sType = static_cast<WGPUSType>(WGPUSType_InstanceExtras);
    extras.backends = WGPUInstanceBackend_Vulkan | WGPUInstanceBackend_Metal;
    WGPUInstanceDescriptor descriptor{};
    descriptor.nextInChain = &extras.chain;
    return wgpuCreateInstance(&descriptor);
  }();
  return instance;
}

const char* TypeName(WGPUAdapterType type) {
  switch (type) {
    case WGPUAdapterType_DiscreteGPU: return "discrete";
    case WGPUAdapterType_IntegratedGPU: return "integrated";
    case WGPUAdapterType_CPU: return "cpu";
    default: return "unknown";
  }
}

int Rank(const Adapter& adapter) {
  if (adapter.software) return 3;
  return adapter.type == "discrete" ? 0 : adapter.type == "integrated" ? 1 : 2;
}

bool IsSoftware(const std::string& type, const std::string& name, const std::string& driver) {
  if (type == "cpu") return true;
  for (const char* rasteriser : {"llvmpipe", "lavapipe", "SwiftShader", "softpipe"})
    if (name.find(rasteriser) != std::string::npos || driver.find(rasteriser) != std::string::npos) return true;
  return false;
}

Adapter Inspect(WGPUAdapter handle) {
  Adapter adapter;
  adapter.handle = handle;
  WGPUAdapterInfo info{};
  wgpuAdapterGetInfo(handle, &info);
  adapter.name = Text(info.device);
  adapter.driver = Text(info.description);
  adapter.vendor = Text(info.vendor);
  adapter.vendor_id = info.vendorID;
  adapter.device_id = info.deviceID;
  adapter.type = TypeName(info.adapterType);
  adapter.backend = info.backendType == WGPUBackendType_Vulkan  ? "vulkan"
                    : info.backendType == WGPUBackendType_Metal ? "metal"
                                                                : "other";
  wgpuAdapterInfoFreeMembers(info);
  adapter.software = IsSoftware(adapter.type, adapter.name, adapter.driver);
  adapter.f16 = wgpuAdapterHasFeature(handle, WGPUFeatureName_ShaderF16);
  adapter.subgroups = wgpuAdapterHasFeature(handle, static_cast<WGPUFeatureName>(WGPUNativeFeature_Subgroup));
  wgpuAdapterGetLimits(handle, &adapter.limits);
  return adapter;
}

std::mutex contexts_mutex;
std::map<int, Context*>& Contexts() {
  static auto* contexts = new std::map<int, Context*>();
  return *contexts;
}

}  // namespace

ffi::Map<ffi::String, ffi::Any> Adapter::Describe(int index) const {
  ffi::Map<ffi::String, ffi::Any> bounds;
  auto bound = [&](const char* key, uint64_t value) {
    bounds.Set(key, static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX)));
  };
  bound("max_buffer_size", limits.maxBufferSize);
  bound("max_storage_buffer_binding_size", limits.maxStorageBufferBindingSize);
  bound("max_storage_buffers_per_shader_stage", limits.maxStorageBuffersPerShaderStage);
  bound("max_compute_workgroup_storage_size", limits.maxComputeWorkgroupStorageSize);
  bound("max_compute_invocations_per_workgroup", limits.maxComputeInvocationsPerWorkgroup);
  bound("max_compute_workgroup_size_x", limits.maxComputeWorkgroupSizeX);
  bound("max_compute_workgroup_size_y", limits.maxComputeWorkgroupSizeY);
  bound("max_compute_workgroup_size_z", limits.maxComputeWorkgroupSizeZ);
  bound("max_compute_workgroups_per_dimension", limits.maxComputeWorkgroupsPerDimension);
  ffi::Map<ffi::String, ffi::Any> out;
  out.Set("index", index);
  out.Set("name", ffi::String(name));
  out.Set("type", ffi::String(type));
  out.Set("software", software);
  out.Set("backend", ffi::String(backend));
  out.Set("driver", ffi::String(driver));
  out.Set("vendor", ffi::String(vendor));
  out.Set("vendor_id", static_cast<int64_t>(vendor_id));
  out.Set("device_id", static_cast<int64_t>(device_id));
  out.Set("f16", f16);
  out.Set("subgroups", subgroups);
  out.Set("limits", bounds);
  return out;
}

const std::vector<Adapter>& Adapters() {
  static const auto* adapters = [] {
    auto* found = new std::vector<Adapter>();
    if (WGPUInstance instance = Instance()) {
      std::vector<WGPUAdapter> handles(wgpuInstanceEnumerateAdapters(instance, nullptr, nullptr));
      wgpuInstanceEnumerateAdapters(instance, nullptr, handles.data());
      for (WGPUAdapter handle : handles) found->push_back(Inspect(handle));
      std::stable_sort(found->begin(), found->end(),
                       [](const Adapter& a, const Adapter& b) { return Rank(a) < Rank(b); });
    }
    return found;
  }();
  return *adapters;
}

Context& Context::Get(int index) {
  std::lock_guard<std::mutex> lock(contexts_mutex);
  auto& contexts = Contexts();
  if (auto it = contexts.find(index); it != contexts.end()) return *it->second;
  const auto& adapters = Adapters();
  TVM_FFI_CHECK(!adapters.empty(), RuntimeError)
      << "webgpu: no Vulkan or Metal adapter: install the GPU's Vulkan driver (check with vulkaninfo)";
  TVM_FFI_CHECK(index >= 0 && index < static_cast<int>(adapters.size()), RuntimeError)
      << "webgpu: there is no adapter " << index << "; this machine has " << adapters.size();
  return *(contexts[index] = new Context(adapters[index]));
}

Context* Context::Existing(int index) {
  std::lock_guard<std::mutex> lock(contexts_mutex);
  auto it = Contexts().find(index);
  return it == Contexts().end() ? nullptr : it->second;
}

Context::Context(const Adapter& chosen) : adapter(chosen) {
  std::vector<WGPUFeatureName> features;
  if (adapter.f16) features.push_back(WGPUFeatureName_ShaderF16);
  WGPULimits limits = adapter.limits;  // the adapter's own: paged attention needs more than WebGPU's defaults
  limits.nextInChain = nullptr;
  WGPUDeviceDescriptor descriptor{};
  descriptor.requiredFeatures = features.data();
  descriptor.requiredFeatureCount = features.size();
  descriptor.requiredLimits = &limits;
  descriptor.uncapturedErrorCallbackInfo.userdata1 = this;
  descriptor.uncapturedErrorCallbackInfo.callback = [](WGPUDevice const*, WGPUErrorType type, WGPUStringView message,
                                                       void* self, void*) {
    static_cast<Context*>(self)->Report(type, Text(message));
  };
  descriptor.deviceLostCallbackInfo.mode = WGPUCallbackMode_AllowSpontaneous;
  descriptor.deviceLostCallbackInfo.userdata1 = this;
  descriptor.deviceLostCallbackInfo.callback = [](WGPUDevice const*, WGPUDeviceLostReason, WGPUStringView message,
                                                  void* data, void*) {
    static_cast<Context*>(data)->Lose(Text(message));
  };
  struct Answer {
    WGPUDevice device = nullptr;
    std::string message;
    bool done = false;
  } answer;
  WGPURequestDeviceCallbackInfo request{};
  request.mode = WGPUCallbackMode_AllowSpontaneous;
  request.userdata1 = &answer;
  request.callback = [](WGPURequestDeviceStatus, WGPUDevice device, WGPUStringView message, void* data, void*) {
    *static_cast<Answer*>(data) = {device, Text(message), true};
  };
  wgpuAdapterRequestDevice(adapter.handle, &descriptor, request);
  while (!answer.done) wgpuInstanceProcessEvents(Instance());
  TVM_FFI_CHECK(answer.device, RuntimeError)
      << "webgpu: adapter " << adapter.name << " gave no device: " << answer.message;
  device = answer.device;
  queue = wgpuDeviceGetQueue(device);
  recorder = std::make_unique<Recorder>(*this);
  kernels = std::make_unique<Kernels>(*this);
}

void Context::Report(WGPUErrorType type, std::string message) {
  // A call may meet a lost device before the device's own callback has come; wgpu-native calls that validation.
  if (message.find("device is lost") != std::string::npos) return Lose("met by a call");
  std::lock_guard<std::mutex> lock(failure_mutex_);
  if (failures_.size() < 8) failures_.push_back({type, std::move(message)});
}

void Context::Lose(const std::string& reason) {
  std::lock_guard<std::mutex> lock(failure_mutex_);
  if (lost_.empty()) lost_ = reason.empty() ? "no reason given" : reason;
}

bool Context::lost() const {
  std::lock_guard<std::mutex> lock(failure_mutex_);
  return !lost_.empty();
}

void Context::Check() {
  std::vector<Failure> failures;
  std::string lost;
  {
    std::lock_guard<std::mutex> lock(failure_mutex_);
    if (failures_.empty() && lost_.empty()) return;
    failures.swap(failures_);
    lost = lost_;
  }
  if (!lost.empty())
    TVM_FFI_THROW(RuntimeError) << "webgpu: device lost (" << adapter.name << "): " << lost
                                << "; start the process again, or run on the CPU";
  const auto& [type, message] = failures.front();
  // wgpu-native 29 reports memory that the driver refused as a validation error.
  if (type == WGPUErrorType_OutOfMemory || message.find("Not enough memory left") != std::string::npos)
    TVM_FFI_THROW(MemoryError) << "webgpu: " << adapter.name << " is out of memory with " << bytes_allocated
                               << " bytes in " << buffers << " buffers allocated: " << message;
  if (type == WGPUErrorType_Validation) TVM_FFI_THROW(ValueError) << "webgpu: " << message;
  TVM_FFI_THROW(RuntimeError) << "webgpu: " << message;
}

void Context::Poll() {
  Guard([&] { wgpuDevicePoll(device, true, nullptr); });
}

void Context::Synchronize() {
  recorder->Submit();
  Poll();
}

}  // namespace duomem::vulkan
