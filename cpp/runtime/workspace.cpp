#include "runtime/workspace.h"

#include <atomic>
#include <cstdint>

#include "runtime/fork.h"
#include "runtime/system_memory.h"

namespace pynn {
namespace {

constexpr size_t kOverRead = 64;

std::atomic<size_t> total{0};
// Counts calls of release_workspaces. Each buffer compares it for itself: a kernel may hold the one purpose while it
// asks for the other.
std::atomic<uint64_t> epoch{0};

struct Buffer {
  char* data = nullptr;
  size_t bytes = 0;
  uint64_t epoch = 0;

  void free() {
    system_free(data, bytes);
    total.fetch_sub(bytes, std::memory_order_relaxed);
    data = nullptr;
    bytes = 0;
  }

  bool grow(size_t wanted) {
    free();
#ifndef PYNN_SANITIZED
    wanted += wanted / 4;  // sizes that creep up settle soon
#endif
    data = static_cast<char*>(system_allocate(wanted));
    if (!data) return false;
    bytes = wanted;
    total.fetch_add(bytes, std::memory_order_relaxed);
    return true;
  }
};

struct Workspace {
  Buffer buffers[int(Scratch::count)];

  size_t bytes() const {
    size_t sum = 0;
    for (const Buffer& b : buffers) sum += b.bytes;
    return sum;
  }
  void free() {
    for (Buffer& b : buffers) b.free();
  }
  ~Workspace() { free(); }
};

thread_local Workspace workspace;

}  // namespace

// The other threads' buffers are lost to the child, and so is their share of the total.
const ForkHandlers workspace_fork_handlers = {[] {}, [] {}, [] { total.store(workspace.bytes()); }};

void* scratch(Scratch purpose, size_t bytes) {
  if (bytes > SIZE_MAX / 4) return nullptr;
  Buffer& buffer = workspace.buffers[int(purpose)];
  const uint64_t now = epoch.load(std::memory_order_relaxed);
  if (buffer.epoch != now) {
    buffer.free();
    buffer.epoch = now;
  }
  if (buffer.bytes < bytes + kOverRead && !buffer.grow(bytes + kOverRead)) return nullptr;
  return buffer.data;
}

size_t workspace_bytes() { return total.load(std::memory_order_relaxed); }

void release_workspaces() {
  workspace.free();
  epoch.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace pynn
