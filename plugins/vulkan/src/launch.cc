#include "launch.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "recorder.h"

namespace duomem::vulkan {

size_t Kernels::Hash::operator()(const Key& key) const {
  uint64_t hash = 1469598103934665603ull;
  for (uint64_t part : key) hash = (hash ^ part) * 1099511628211ull;
  return hash ^ (hash >> 29);
}

const Pipeline& Kernels::Compile(const std::string& wgsl, const std::string& entry, const std::vector<bool>& writes,
                                 uint64_t uniform_bytes) {
  std::string key = entry + '\0' + std::to_string(uniform_bytes) + '\0';
  for (bool write : writes) key += write ? 'w' : 'r';
  key += '\0' + wgsl;
  if (auto it = pipelines_.find(key); it != pipelines_.end()) return *it->second;
  const auto start = std::chrono::steady_clock::now();
  const uint32_t allowed = context_.adapter.limits.maxStorageBuffersPerShaderStage;
  TVM_FFI_CHECK(writes.size() <= allowed, ValueError)
      << "webgpu: kernel " << entry << " binds " << writes.size()
      << " buffers, above maxStorageBuffersPerShaderStage = " << allowed << " of " << context_.adapter.name;

  WGPUDevice device = context_.device;
  WGPUShaderSourceWGSL source{};
  source.chain.sType = WGPUSType_ShaderSourceWGSL;
  source.code = View(wgsl);
  WGPUShaderModuleDescriptor module_descriptor{};
  module_descriptor.nextInChain = &source.chain;
  module_descriptor.label = View(entry);
  WGPUShaderModule module = nullptr;
  WGPUPipelineLayout pipeline_layout = nullptr;
  auto made = std::make_unique<Pipeline>();
  // Each step is checked alone: wgpu panics on some uses of an object whose creation failed.
  try {
    module = wgpuDeviceCreateShaderModule(device, &module_descriptor);
    context_.Check();
    std::vector<WGPUBindGroupLayoutEntry> entries(writes.size() + 1);
    for (size_t i = 0; i < entries.size(); ++i) {
      entries[i] = {};
      entries[i].binding = static_cast<uint32_t>(i);
      entries[i].visibility = WGPUShaderStage_Compute;
      if (i < writes.size()) {
        entries[i].buffer.type = writes[i] ? WGPUBufferBindingType_Storage : WGPUBufferBindingType_ReadOnlyStorage;
      } else {
        entries[i].buffer.type = WGPUBufferBindingType_Uniform;
        entries[i].buffer.hasDynamicOffset = true;
        entries[i].buffer.minBindingSize = uniform_bytes;
      }
    }
    WGPUBindGroupLayoutDescriptor layout_descriptor{};
    layout_descriptor.entries = entries.data();
    layout_descriptor.entryCount = entries.size();
    made->layout = wgpuDeviceCreateBindGroupLayout(device, &layout_descriptor);
    context_.Check();
    WGPUPipelineLayoutDescriptor pipeline_layout_descriptor{};
    pipeline_layout_descriptor.bindGroupLayouts = &made->layout;
    pipeline_layout_descriptor.bindGroupLayoutCount = 1;
    pipeline_layout = wgpuDeviceCreatePipelineLayout(device, &pipeline_layout_descriptor);
    context_.Check();
    WGPUComputePipelineDescriptor descriptor{};
    descriptor.label = View(entry);
    descriptor.layout = pipeline_layout;
    descriptor.compute.module = module;
    descriptor.compute.entryPoint = View(entry);
    made->handle = wgpuDeviceCreateComputePipeline(device, &descriptor);
    context_.Check();
  } catch (...) {
    if (made->handle) wgpuComputePipelineRelease(made->handle);
    if (pipeline_layout) wgpuPipelineLayoutRelease(pipeline_layout);
    if (made->layout) wgpuBindGroupLayoutRelease(made->layout);
    if (module) wgpuShaderModuleRelease(module);
    throw;
  }
  wgpuShaderModuleRelease(module);
  wgpuPipelineLayoutRelease(pipeline_layout);
  made->id = pipelines_.size();
  ++context_.counters.pipelines;
  context_.counters.pipeline_seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return *pipelines_.emplace(std::move(key), std::move(made)).first->second;
}

WGPUBindGroup Kernels::Bind(const Pipeline& pipeline, const std::vector<Buffer*>& buffers, uint64_t uniform_bytes) {
  scratch_.clear();
  scratch_.push_back(pipeline.id);
  for (const Buffer* buffer : buffers) scratch_.push_back(buffer->id);
  if (auto it = bind_groups_.find(scratch_); it != bind_groups_.end()) return it->second;

  std::vector<WGPUBindGroupEntry> entries(buffers.size() + 1);
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i] = {};
    entries[i].binding = static_cast<uint32_t>(i);
    entries[i].buffer = i < buffers.size() ? buffers[i]->handle : context_.recorder->ring();
    entries[i].size = i < buffers.size() ? buffers[i]->size : uniform_bytes;
  }
  WGPUBindGroupDescriptor descriptor{};
  descriptor.layout = pipeline.layout;
  descriptor.entries = entries.data();
  descriptor.entryCount = entries.size();
  WGPUBindGroup group = wgpuDeviceCreateBindGroup(context_.device, &descriptor);
  try {
    context_.Check();
  } catch (...) {
    if (group) wgpuBindGroupRelease(group);
    throw;
  }
  if (bind_groups_.size() >= kMaxBindGroups) {  // wgpu keeps those that recorded work still uses
    for (auto& [key, old] : bind_groups_) wgpuBindGroupRelease(old);
    bind_groups_.clear();
  }
  for (Buffer* buffer : buffers) buffer->bound = true;
  ++context_.counters.bind_groups;
  return bind_groups_[scratch_] = group;
}

void Kernels::Forget(uint64_t buffer_id) {
  for (auto it = bind_groups_.begin(); it != bind_groups_.end();) {
    bool holds = false;
    for (size_t i = 1; i < it->first.size(); ++i) holds |= it->first[i] == buffer_id;
    if (holds) {
      wgpuBindGroupRelease(it->second);
      it = bind_groups_.erase(it);
    } else {
      ++it;
    }
  }
}

Launcher::Launcher(KernelInfo info, std::shared_ptr<const std::string> wgsl)
    : info_(std::move(info)), wgsl_(std::move(wgsl)) {
  for (size_t i = 0; i < info_.arguments.size(); ++i) {
    const DLDataType type = info_.arguments[i];
    bool scalar = type.lanes == 1 && type.bits <= 32 &&
                  (type.code == kDLInt || type.code == kDLUInt || type.code == kDLBool ||
                   (type.code == kDLFloat && type.bits == 32));
    TVM_FFI_CHECK(type.code == kDLOpaqueHandle || scalar, ValueError)
        << "webgpu: argument " << i << " of kernel " << info_.name << " has type code " << int(type.code) << " with "
        << int(type.bits) << " bits; scalars are 32-bit integers and floats";
    (type.code == kDLOpaqueHandle ? buffer_arguments_ : scalar_arguments_).push_back(static_cast<int>(i));
  }
  const std::string access = "paramWriteAccess:";
  for (const std::string& tag : info_.launch_tags) {
    const char axis = tag.empty() ? '\0' : tag.back();
    const bool named = axis >= 'x' && axis <= 'z';
    if (named && tag.rfind("blockIdx.", 0) == 0 && tag.size() == 10) {
      dimensions_.push_back(axis - 'x');
    } else if (named && tag.rfind("threadIdx.", 0) == 0 && tag.size() == 11) {
      dimensions_.push_back(3 + axis - 'x');
    } else if (tag.rfind(access, 0) == 0) {
      for (char flag : tag.substr(access.size()))
        if (flag == '0' || flag == '1') writes_.push_back(flag == '1');
    } else {
      TVM_FFI_THROW(ValueError) << "webgpu: kernel " << info_.name << " has an unknown launch tag '" << tag << "'";
    }
  }
  TVM_FFI_CHECK(writes_.size() == buffer_arguments_.size() && !writes_.empty(), ValueError)
      << "webgpu: kernel " << info_.name << " has " << buffer_arguments_.size() << " buffers and " << writes_.size()
      << " access flags";
  buffers_.resize(buffer_arguments_.size());
  uniform_bytes_ = RoundUp((scalar_arguments_.size() + 1) * 4, 16);
}

const Pipeline& Launcher::PipelineOf(Context& context) {
  const Pipeline*& pipeline = pipelines_[&context];
  if (!pipeline) pipeline = &context.kernels->Compile(*wgsl_, info_.name, writes_, uniform_bytes_);
  return *pipeline;
}

void Launcher::Prepare(Context& context) {
  std::lock_guard<std::mutex> own(mutex_);
  Lock lock(context.mutex);
  PipelineOf(context);
}

void Launcher::WriteScalars(const tvm::ffi::AnyView* arguments, uint32_t last_block_x, char* to) const {
  for (int index : scalar_arguments_) {
    const DLDataType type = info_.arguments[index];
    if (type.code == kDLFloat) {
      const auto value = static_cast<float>(arguments[index].cast<double>());
      std::memcpy(to, &value, 4);
    } else {
      const auto value = arguments[index].cast<int64_t>();
      const int64_t low = type.code == kDLInt ? INT32_MIN : 0, high = type.code == kDLInt ? INT32_MAX : UINT32_MAX;
      TVM_FFI_CHECK(value >= low && value <= high, ValueError)
          << "webgpu: scalar argument " << index << " of kernel " << info_.name << " is " << value
          << ", outside 32 bits";
      const auto word = static_cast<uint32_t>(value);
      std::memcpy(to, &word, 4);
    }
    to += 4;
  }
  std::memcpy(to, &last_block_x, 4);
}

void Launcher::operator()(const tvm::ffi::AnyView* arguments, int32_t count) {
  TVM_FFI_CHECK(count == static_cast<int32_t>(info_.arguments.size() + dimensions_.size()), ValueError)
      << "webgpu: kernel " << info_.name << " takes " << info_.arguments.size() << " arguments and "
      << dimensions_.size() << " launch dimensions, got " << count << " values";
  auto buffer_at = [&](size_t i) {
    auto* buffer = static_cast<Buffer*>(arguments[buffer_arguments_[i]].cast<void*>());
    TVM_FFI_CHECK(buffer, ValueError) << "webgpu: buffer " << i << " of kernel " << info_.name << " is null";
    return buffer;
  };
  Context& context = *buffer_at(0)->context;
  std::lock_guard<std::mutex> own(mutex_);
  Lock lock(context.mutex);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    buffers_[i] = buffer_at(i);
    TVM_FFI_CHECK(buffers_[i]->context == &context, ValueError)
        << "webgpu: the buffers of kernel " << info_.name << " are on different devices";
  }
  const WGPULimits& limits = context.adapter.limits;
  int64_t sizes[6] = {1, 1, 1, 1, 1, 1};
  for (size_t i = 0; i < dimensions_.size(); ++i)
    sizes[dimensions_[i]] = arguments[info_.arguments.size() + i].cast<int64_t>();
  if (sizes[0] == 0 || sizes[1] == 0) return;
  const int64_t limit = limits.maxComputeWorkgroupsPerDimension;
  TVM_FFI_CHECK(sizes[0] > 0 && sizes[0] <= UINT32_MAX && sizes[1] > 0 && sizes[1] <= limit && sizes[2] == 1,
                ValueError)
      << "webgpu: kernel " << info_.name << " asks for a grid of " << sizes[0] << " x " << sizes[1] << " x "
      << sizes[2] << "; y may be at most maxComputeWorkgroupsPerDimension = " << limit
      << ", and z belongs to the plugin (TVM's kernels carry the high part of x there)";
  int64_t x = sizes[0], z = 1;
  while (x > limit) {
    x = (x + 1) / 2;
    z *= 2;
  }
  context.Check();
  const Pipeline& pipeline = PipelineOf(context);
  WGPUBindGroup group = context.kernels->Bind(pipeline, buffers_, uniform_bytes_);
  const uint64_t alignment = std::max<uint64_t>(limits.minUniformBufferOffsetAlignment, 16);
  Recorder::Slot slot = context.recorder->Reserve(uniform_bytes_, alignment);
  WriteScalars(arguments, static_cast<uint32_t>(sizes[0] - 1), slot.host);
  const uint32_t grid[3] = {static_cast<uint32_t>(x), static_cast<uint32_t>(sizes[1]), static_cast<uint32_t>(z)};
  context.recorder->Dispatch(pipeline.handle, group, slot.offset, grid);
}

}  // namespace duomem::vulkan
