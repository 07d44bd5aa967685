// Another addon in the process of a load balancer: it installs its own signal handlers, keeps the allocator busy
// on other threads, and can crash for real.
#include <napi.h>
#include <signal.h>
#include <string.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
constexpr int kCount = 4;

struct sigaction before[kCount];
std::atomic<uint32_t> seen{0};
std::atomic<bool> hammering{false};
std::vector<std::thread> threads;

// Counts the signal and forwards it to the previous handler, as a crash reporter does.
void Handle(int signal, siginfo_t* info, void* context) {
  seen.fetch_add(1, std::memory_order_relaxed);
  for (int at = 0; at < kCount; at++) {
    if (kSignals[at] != signal) continue;
    const struct sigaction& previous = before[at];
    if (previous.sa_flags & SA_SIGINFO) {
      previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
      // The faulting instruction runs again, with the default action.
      ::signal(signal, SIG_DFL);
    } else {
      previous.sa_handler(signal);
    }
  }
}

void Install(const Napi::CallbackInfo&) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = Handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  for (int at = 0; at < kCount; at++) sigaction(kSignals[at], &action, &before[at]);
}

Napi::Value Seen(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), seen.load()); }

void Hammer(const Napi::CallbackInfo& info) {
  hammering = true;
  for (uint32_t count = info[0].As<Napi::Number>().Uint32Value(); count > 0; count--) {
    threads.emplace_back([count] {
      uint32_t state = count;
      void* kept[64] = {};
      while (hammering.load(std::memory_order_relaxed)) {
        state = state * 1664525u + 1013904223u;
        void*& slot = kept[(state >> 8) % 64];
        free(slot);
        size_t size = 1 + (state >> 16) % ((state & 255) == 0 ? 4u << 20 : 4096u);
        slot = malloc(size);
        if (slot != nullptr) memset(slot, 0xa5, size < 64 ? size : 64);
      }
      for (void* slot : kept) free(slot);
    });
  }
}

void Rest(const Napi::CallbackInfo&) {
  hammering = false;
  for (std::thread& thread : threads) thread.join();
  threads.clear();
}

__attribute__((noinline)) void WriteTo(volatile uintptr_t* address) { *address = 1; }

// Faults in this addon's own code, on the calling thread or on a thread without JavaScript.
void Crash(const Napi::CallbackInfo& info) {
  std::string where = info[0].As<Napi::String>();
  auto fault = [] { WriteTo(reinterpret_cast<volatile uintptr_t*>(8)); };
  if (where == "here") fault();
  if (where == "thread") std::thread(fault).join();
  if (where == "illegal") __builtin_trap();
  if (where == "abort") abort();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("install", Napi::Function::New(env, Install));
  exports.Set("seen", Napi::Function::New(env, Seen));
  exports.Set("hammer", Napi::Function::New(env, Hammer));
  exports.Set("rest", Napi::Function::New(env, Rest));
  exports.Set("crash", Napi::Function::New(env, Crash));
  return exports;
}

}  // namespace

NODE_API_MODULE(neighbor, Init)
