// Adapters of this machine, and for each one that is used a Context: the wgpu device, its queue, limits and errors.
#pragma once
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/error.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "abort_guard.h"
#include "wgpu.h"

namespace duomem::vulkan {

inline WGPUStringView View(const std::string& text) { return {text.data(), text.size()}; }
std::string Text(WGPUStringView view);
inline uint64_t RoundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// One physical device as wgpu reports it. `software` is true for rasterisers that run on the CPU.
struct Adapter {
  WGPUAdapter handle = nullptr;
  std::string name, driver, vendor, backend, type;
  uint32_t vendor_id = 0, device_id = 0;
  bool software = false, f16 = false, subgroups = false;
  WGPULimits limits{};
  // Python-visible description: name, type, driver, limits ... (see duomem_vulkan.gpus).
  tvm::ffi::Map<tvm::ffi::String, tvm::ffi::Any> Describe(int index) const;
};

// Adapters in the order of device numbers: discrete, integrated, other, software. Empty without a driver.
const std::vector<Adapter>& Adapters();

// Counts since start (or the last reset), read by tests and benchmarks.
struct Counters {
  uint64_t dispatches = 0, submits = 0, bind_groups = 0, pipelines = 0;
  double pipeline_seconds = 0;
};

class Recorder;
class Kernels;

// Everything bound to one wgpu device. Lives until the process ends: TVM's tensors may outlive any owner.
// All members are used under `mutex`; every entry point of the plugin takes it.
class Context {
 public:
  // The context of device number `index`, made on first use. Throws RuntimeError where there is no such adapter.
  static Context& Get(int index);
  // As Get, but null where the context was never made.
  static Context* Existing(int index);

  const Adapter& adapter;
  WGPUDevice device = nullptr;
  WGPUQueue queue = nullptr;
  std::recursive_mutex mutex;
  Counters counters;
  std::unique_ptr<Recorder> recorder;
  std::unique_ptr<Kernels> kernels;
  uint64_t bytes_allocated = 0, bytes_peak = 0, buffers = 0, next_buffer_id = 1;

  // Throws what wgpu reported since the last check: MemoryError, ValueError (validation) or RuntimeError.
  // A lost device stays lost: every later check throws again.
  void Check();
  // Submits recorded work and waits until the device is idle.
  void Synchronize();
  // Blocks until the device is idle; submits nothing.
  void Poll();
  bool lost() const;
  // Calls into wgpu where it may panic (submissions, waiting): a panic counts as the loss of the device.
  // Nothing with a destructor may live in `call`.
  template <class Call>
  void Guard(Call&& call) {
    Check();
    if (!SurvivesAbort([](void* body) { (*static_cast<std::remove_reference_t<Call>*>(body))(); }, &call))
      Lose("wgpu-native panicked; its message is on stderr");
    Check();
  }
  void Lose(const std::string& reason);

 private:
  explicit Context(const Adapter& adapter);
  struct Failure {
    WGPUErrorType type;
    std::string message;
  };
  mutable std::mutex failure_mutex_;  // wgpu's callbacks may come from its own threads
  std::vector<Failure> failures_;
  std::string lost_;
  void Report(WGPUErrorType type, std::string message);
};

using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace duomem::vulkan
