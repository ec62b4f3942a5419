#include "abort_guard.h"

#include <csetjmp>
#include <csignal>
#include <mutex>

namespace duomem::vulkan {
namespace {

thread_local sigjmp_buf* landing = nullptr;
std::mutex mutex;
int users = 0;
struct sigaction before;

// Leaving a SIGABRT handler by a jump is the one way that POSIX gives to stop abort().
void OnAbort(int signal) {
  if (landing) siglongjmp(*landing, 1);
  sigaction(signal, &before, nullptr);
  raise(signal);
}

class Handler {
 public:
  Handler() {
    std::lock_guard<std::mutex> lock(mutex);
    if (users++ > 0) return;
    struct sigaction action {};
    action.sa_handler = OnAbort;
    action.sa_flags = SA_NODEFER;  // the jump leaves the signal mask as it was
    sigaction(SIGABRT, &action, &before);
  }
  ~Handler() {
    std::lock_guard<std::mutex> lock(mutex);
    if (--users == 0) sigaction(SIGABRT, &before, nullptr);
  }
};

}  // namespace

bool SurvivesAbort(void (*call)(void*), void* data) {
  Handler handler;
  sigjmp_buf* const outer = landing;
  sigjmp_buf here;
  volatile bool survived = false;
  if (sigsetjmp(here, 0) == 0) {
    landing = &here;
    call(data);
    survived = true;
  }
  landing = outer;
  return survived;
}

}  // namespace duomem::vulkan
