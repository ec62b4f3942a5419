#include "module.h"

#include <cstring>

namespace duomem::vulkan {
namespace ffi = tvm::ffi;
namespace {

// Reads little-endian values; every length is checked against what is left before anything is allocated.
class Reader {
 public:
  Reader(const char* data, size_t size) : at_(data), end_(data + size) {}

  template <class T>
  T Value() {
    Need(sizeof(T), 1);
    T value;
    std::memcpy(&value, at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  // A count of elements that take at least `bytes_each`.
  uint64_t Count(uint64_t bytes_each) {
    auto count = Value<uint64_t>();
    Need(count, bytes_each);
    return count;
  }
  std::string String() {
    uint64_t size = Count(1);
    std::string text(at_, size);
    at_ += size;
    return text;
  }
  bool done() const { return at_ == end_; }

 private:
  void Need(uint64_t count, uint64_t bytes_each) const {
    TVM_FFI_CHECK(count <= static_cast<uint64_t>(end_ - at_) / bytes_each, ValueError)
        << "webgpu module: truncated or damaged (" << count << " elements announced, " << (end_ - at_)
        << " bytes left)";
  }
  const char* at_;
  const char* end_;
};

KernelInfo ReadKernel(Reader& reader) {
  KernelInfo info;
  info.name = reader.String();
  for (uint64_t n = reader.Count(4); n > 0; --n) {
    DLDataType type;
    type.code = reader.Value<uint8_t>();
    type.bits = reader.Value<uint8_t>();
    type.lanes = reader.Value<uint16_t>();
    info.arguments.push_back(type);
  }
  for (uint64_t n = reader.Count(8); n > 0; --n) info.launch_tags.push_back(reader.String());
  for (uint64_t n = reader.Count(4); n > 0; --n) reader.Value<int32_t>();  // argument tags, of no use here
  return info;
}

}  // namespace

ffi::Module WebGPUModule::Load(const ffi::Bytes& bytes) {
  auto module = ffi::make_object<WebGPUModule>();
  module->bytes_ = bytes;
  Reader reader(bytes.data(), bytes.size());
  for (uint64_t n = reader.Count(16); n > 0; --n) {
    std::string key = reader.String();
    module->kernels_[key].info = ReadKernel(reader);
  }
  for (uint64_t n = reader.Count(16); n > 0; --n) {
    std::string key = reader.String();
    auto it = module->kernels_.find(key);
    TVM_FFI_CHECK(it != module->kernels_.end(), ValueError) << "webgpu module: source of an unknown kernel " << key;
    it->second.wgsl = std::make_shared<const std::string>(reader.String());
  }
  TVM_FFI_CHECK(reader.done(), ValueError) << "webgpu module: bytes left over after the last kernel";
  for (const auto& [key, kernel] : module->kernels_)
    TVM_FFI_CHECK(kernel.wgsl, ValueError) << "webgpu module: no source of kernel " << key;
  return ffi::Module(module);
}

ffi::String WebGPUModule::InspectSource(const ffi::String&) const {
  std::string all;
  for (const auto& [name, kernel] : kernels_) all += "// " + name + "\n" + *kernel.wgsl + "\n";
  return all;
}

ffi::Optional<ffi::Function> WebGPUModule::GetFunction(const ffi::String& name) {
  auto it = kernels_.find(std::string(name));
  if (it == kernels_.end()) return std::nullopt;
  auto launcher = std::make_shared<Launcher>(it->second.info, it->second.wgsl);
  return ffi::Function::FromPacked(
      [launcher](const ffi::AnyView* arguments, int32_t count, ffi::Any*) { (*launcher)(arguments, count); });
}

int64_t WebGPUModule::Prepare(Context& context) const {
  for (const auto& [name, kernel] : kernels_) Launcher(kernel.info, kernel.wgsl).Prepare(context);
  return static_cast<int64_t>(kernels_.size());
}

int64_t PrepareModule(const ffi::Module& module, int64_t index) {
  int64_t count = 0;
  if (std::strcmp(module->kind(), "webgpu") == 0)
    if (const auto* own = dynamic_cast<const WebGPUModule*>(module.get())) count += own->Prepare(Context::Get(index));
  for (const ffi::Any& imported : module->imports()) count += PrepareModule(imported.cast<ffi::Module>(), index);
  return count;
}

}  // namespace duomem::vulkan
