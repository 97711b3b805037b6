#include "runtime/system_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

namespace pynn {
namespace {

#ifdef PYNN_SANITIZED
constexpr size_t kMapFrom = SIZE_MAX;         // the sanitizers watch malloc only
constexpr size_t kLargest = size_t(1) << 39;  // and end the process at more
#else
constexpr size_t kMapFrom = size_t(1) << 20;
constexpr size_t kLargest = size_t(1) << 56;  // no processor addresses more
#endif
// The first touch of a 25 MB block takes 9 ms in small pages.
constexpr size_t kHugeFrom = size_t(4) << 20, kHugePage = size_t(2) << 20;
constexpr size_t kPage = size_t(64) << 10;  // the largest page of the systems we run on

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

void* map(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
}

// Huge pages need an aligned start: map a page more and cut off both ends.
void* map_huge(size_t bytes) {
  char* wide = static_cast<char*>(map(bytes + kHugePage));
  if (!wide) return nullptr;
  const size_t head = (kHugePage - reinterpret_cast<uintptr_t>(wide) % kHugePage) % kHugePage;
  if (head) munmap(wide, head);
  if (head != kHugePage) munmap(wide + head + bytes, kHugePage - head);
#ifdef MADV_HUGEPAGE
  madvise(wide + head, bytes, MADV_HUGEPAGE);
#endif
  return wide + head;
}

}  // namespace

void* system_allocate(size_t bytes) {
  if (bytes > kLargest) return nullptr;
  if (bytes >= kMapFrom) {
    const size_t pages = round_up(bytes, kPage);
    return bytes >= kHugeFrom ? map_huge(pages) : map(pages);
  }
  void* data = nullptr;
  return posix_memalign(&data, 64, bytes ? bytes : 1) ? nullptr : data;
}

void system_free(void* data, size_t bytes) {
  if (!data) return;
  if (bytes >= kMapFrom) {
    munmap(data, round_up(bytes, kPage));
  } else {
    std::free(data);
  }
}

}  // namespace pynn
