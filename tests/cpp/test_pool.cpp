// The memory pool and the workspaces.
#include <chrono>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "runtime/pool.h"
#include "runtime/workspace.h"

namespace {

using namespace pynn;

#ifdef PYNN_SANITIZED
constexpr bool kCaching = false;
#else
constexpr bool kCaching = true;
#endif

void blocks_have_what_was_asked_for() {
  for (const size_t bytes : {0, 1, 63, 64, 65, 96, 97, 1000, 4096, 100000, 1 << 20, (4 << 20) + 1, 9 << 20}) {
    const size_t live = pool_stats().live;
    Block* b = allocate(bytes);
    CHECK(b && b->capacity >= bytes && reinterpret_cast<uintptr_t>(b->data) % 64 == 0);
    CHECK(b->refs == 1 && !b->readonly);
    CHECK(b->capacity == pool_capacity(bytes));
    CHECK(!kCaching || b->capacity <= 64 || b->capacity <= bytes + bytes / 2);
    CHECK(pool_stats().live == live + b->capacity);
    std::memset(b->data, 1, bytes);
    release(b);
    CHECK(pool_stats().live == live);
  }
}

void impossible_sizes_are_null() {
  const PoolStats before = pool_stats();
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX / 2, SIZE_MAX / 2 + 1, size_t(1) << 62})
    CHECK(allocate(bytes) == nullptr);
  CHECK(pool_stats().live == before.live);
}

void blocks_come_back() {
  if (!kCaching) return;
  release_cached();
  Block* b = allocate(1000);
  char* const data = b->data;
  release(b);
  CHECK(pool_stats().cached == 1024);
  b = allocate(1024);
  CHECK(b->data == data && pool_stats().cached == 0);
  retain(b);
  release(b);
  CHECK(pool_stats().cached == 0);
  release(b);
  release_cached();
  CHECK(pool_stats().cached == 0);
}

void the_oldest_leave_above_the_cap() {
  if (!kCaching) return;
  const size_t cap = pool_stats().cap;
  release_cached();
  set_pool_cap(4096);
  Block *a = allocate(2048), *b = allocate(1024), *c = allocate(1024), *d = allocate(512);
  for (Block* block : {a, b, c}) release(block);
  CHECK(pool_stats().cached == 4096);
  release(d);  // a has to go
  CHECK(pool_stats().cached == 2560);
  Block* large = allocate(8192);
  release(large);  // above the cap by itself
  CHECK(pool_stats().cached == 0);
  set_pool_cap(cap);
}

void foreign_memory_is_given_back() {
  static int released;
  released = 0;
  struct Foreign : Block {
    char memory[64];
  };
  auto* b = new Foreign;
  b->data = b->memory;
  b->release = [](Block* block) {
    released++;
    delete static_cast<Foreign*>(block);
  };
  retain(b);
  release(b);
  CHECK(released == 0);
  release(b);
  CHECK(released == 1);
}

void many_threads() {
  const size_t live = pool_stats().live;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++)
    threads.emplace_back([i] {
      std::mt19937 random(i);
      std::vector<std::pair<Block*, size_t>> held;
      for (int round = 0; round < 2000 * kRounds; round++) {
        if (held.size() < 20 && random() % 2) {
          const size_t bytes = 1 + random() % 5000;
          Block* b = allocate(bytes);
          std::memset(b->data, int(bytes), bytes);
          held.push_back({b, bytes});
        } else if (!held.empty()) {
          std::swap(held[random() % held.size()], held.back());
          const auto [b, bytes] = held.back();
          for (size_t at = 0; at < bytes; at += 97) CHECK(b->data[at] == char(bytes));
          release(b);
          held.pop_back();
        }
        if (round % 500 == 0) release_cached();
      }
      for (const auto& [b, bytes] : held) release(b);
    });
  for (std::thread& t : threads) t.join();
  CHECK(pool_stats().live == live);
}

void workspaces() {
  release_workspaces();
  const size_t before = workspace_bytes();
  char* a = static_cast<char*>(scratch(Scratch::pack_a, 1000));
  char* b = static_cast<char*>(scratch(Scratch::pack_b, 500));
  CHECK(a && b && a != b && reinterpret_cast<uintptr_t>(a) % 64 == 0);
  std::memset(a, 1, 1000);
  CHECK(scratch(Scratch::pack_a, 10) == a);  // it only grows
  CHECK(scratch(Scratch::pack_a, SIZE_MAX) == nullptr && scratch(Scratch::pack_a, SIZE_MAX / 8) == nullptr);
  CHECK(workspace_bytes() > before);
  std::thread([&] { CHECK(scratch(Scratch::pack_b, 500) != b); }).join();

  // Told by another thread, a buffer is given up when its own purpose is asked for, and no other.
  a = static_cast<char*>(scratch(Scratch::pack_a, 1000));
  std::thread([] { release_workspaces(); }).join();
  CHECK(scratch(Scratch::partial, 100));
  std::memset(a, 2, 1000);
  CHECK(scratch(Scratch::pack_a, 1000));
  release_workspaces();
  CHECK(workspace_bytes() == 0);
}

void speed() {
  if (!kCaching) return;
  double best = 1e9;
  for (int repeat = 0; repeat < 20; repeat++) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 20000; i++) release(allocate(4000));
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / 20000);
  }
  std::printf("  allocate and release of a cached block: %.0f ns\n", best);
}

}  // namespace

int main() {
  RUN(blocks_have_what_was_asked_for);
  RUN(impossible_sizes_are_null);
  RUN(blocks_come_back);
  RUN(the_oldest_leave_above_the_cap);
  RUN(foreign_memory_is_given_back);
  RUN(many_threads);
  RUN(workspaces);
  RUN(speed);
}
