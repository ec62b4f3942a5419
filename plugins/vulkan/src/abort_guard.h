// Survives an abort inside wgpu-native: it panics, and a panic aborts, when a submission meets a lost device.
#pragma once

namespace duomem::vulkan {

// Runs call(data); false if it called abort(), after which the library it was in must not be used again.
// Nothing with a destructor may live in `call`. Aborts of other threads go where they went before.
bool SurvivesAbort(void (*call)(void*), void* data);

}  // namespace duomem::vulkan
