// The caching memory pool behind every array.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pynn {

class Pool;

// A piece of memory with a reference count. Arrays and programs refer to blocks; none of it needs the GIL.
struct Block {
  char* data = nullptr;
  size_t capacity = 0;  // bytes
  std::atomic<int> refs{1};
  std::atomic<uint32_t> version{0};  // counts in-place writes, so that the tape sees a change to something it saved
  Pool* pool = nullptr;              // null: memory of somebody else, in a block derived from this one
  bool readonly = false;
  void (*release)(Block*) = nullptr;  // of such a block: gives the memory back and deletes the block
};

struct PoolStats {
  size_t live, cached, peak, cap;  // bytes
  uint64_t allocations, hits;
};

// A block of at least `bytes` with one reference, 64-byte aligned, or null when memory is out. While this thread
// records a program, the block comes from the program's private pool.
Block* allocate(size_t bytes);
Block* pool_allocate(size_t bytes);  // the same, never private
size_t pool_capacity(size_t bytes);  // of the block that a request of `bytes` gets
void retain(Block*);
void release(Block*);

PoolStats pool_stats();
void set_pool_cap(size_t bytes);  // least recently used free blocks leave above it
void release_cached();            // gives every free block back to the system

}  // namespace pynn
