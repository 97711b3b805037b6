// The caching memory pool behind every array.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pynn {

class Pool;

// A piece of memory with a reference count. Arrays and programs refer to blocks; none of it needs the GIL.
struct Block {
  char* data;
  size_t capacity;  // bytes
  std::atomic<int> refs;
  std::atomic<uint32_t> version;  // counts in-place writes, so that the tape sees a change to something it saved
  Pool* pool;                     // null: foreign memory
  bool readonly;
  void (*release)(Block*);  // foreign memory only: gives `owner` back
  void* owner;
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
// Wraps memory that somebody else owns.
Block* adopt(void* data, size_t bytes, bool readonly, void* owner, void (*release)(Block*));
void retain(Block*);
void release(Block*);

PoolStats pool_stats();
void set_pool_cap(size_t bytes);  // least recently used free blocks leave above it
void release_cached();            // gives every free block back to the system

}  // namespace pynn
