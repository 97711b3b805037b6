#include "runtime/pool.h"

#include <sched.h>

#include <algorithm>
#include <mutex>
#include <new>

#include "runtime/fork.h"
#include "runtime/machine.h"
#include "runtime/program.h"
#include "runtime/system_memory.h"

namespace pynn {
namespace {

#ifdef PYNN_SANITIZED
constexpr bool kCaching = false;  // every block is its own malloc, so that the sanitizers see each overrun
#else
constexpr bool kCaching = true;
#endif

// Held for some ten nanoseconds, twice for every array: a mutex would cost as much again as the rest of the pool. A
// waiter whose holder was descheduled yields.
class SpinLock {
 public:
  void lock() {
    while (held_.exchange(true, std::memory_order_acquire))
      while (held_.load(std::memory_order_relaxed)) sched_yield();
  }
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

// Links of two lists: the free blocks of one size class (newest first), and all free blocks by time.
template <class T>
struct Links {
  T *newer = nullptr, *older = nullptr;
};

struct PoolBlock : Block {
  int size_class;
  Links<PoolBlock> in_class, by_time;
};

template <Links<PoolBlock> PoolBlock::*links>
class List {
 public:
  PoolBlock* newest() const { return newest_; }
  PoolBlock* oldest() const { return oldest_; }
  void push(PoolBlock* b) {
    (b->*links).newer = nullptr;
    (b->*links).older = newest_;
    (newest_ ? (newest_->*links).newer : oldest_) = b;
    newest_ = b;
  }
  void remove(PoolBlock* b) {
    PoolBlock *newer = (b->*links).newer, *older = (b->*links).older;
    (newer ? (newer->*links).older : newest_) = older;
    (older ? (older->*links).newer : oldest_) = newer;
  }

 private:
  PoolBlock *newest_ = nullptr, *oldest_ = nullptr;
};

// Capacities are 64, 96, 128, 192, 256, ...: a block wastes a third at most, and in large ones the waste is never
// touched.
constexpr int kSmallestBits = 6, kClasses = 2 * (63 - kSmallestBits);
constexpr size_t kLargest = size_t(1) << 62;

int size_class_of(size_t bytes) {
  if (bytes <= size_t(1) << kSmallestBits) return 0;
  const int bits = 63 - __builtin_clzll(bytes - 1);  // 2^bits < bytes <= 2^(bits + 1)
  const size_t half_way = size_t(3) << (bits - 1);
  return 2 * (bits - kSmallestBits) + (bytes <= half_way ? 1 : 2);
}

size_t capacity_of(int size_class) { return size_t(size_class % 2 ? 3 : 2) << (size_class / 2 + kSmallestBits - 1); }

}  // namespace

size_t pool_capacity(size_t bytes) {
  return kCaching && bytes <= kLargest ? capacity_of(size_class_of(bytes)) : std::max(bytes, size_t(1));
}

class Pool {
 public:
  Pool() : cap_(std::min(size_t(1) << 30, memory_limit() / 8)) {}

  Block* take(size_t bytes) {
    if (bytes > kLargest) return nullptr;
    const int size_class = size_class_of(bytes);
    const size_t capacity = pool_capacity(bytes);
    PoolBlock* block = nullptr;
    {
      std::lock_guard lock(lock_);
      block = classes_[size_class].newest();
      allocations_++;
      if (block) {
        forget(block);
        hits_++;
        count_live(capacity);
      }
    }
    if (!block) {
      block = make(size_class, capacity);
      if (!block) return nullptr;
      std::lock_guard lock(lock_);
      count_live(capacity);
    }
    block->refs.store(1, std::memory_order_relaxed);
    block->version.store(0, std::memory_order_relaxed);
    block->readonly = false;
    return block;
  }

  void give_back(PoolBlock* block) {
    PoolBlock* leaving = nullptr;
    {
      std::lock_guard lock(lock_);
      live_ -= block->capacity;
      by_time_.push(block);
      classes_[block->size_class].push(block);
      cached_ += block->capacity;
      leaving = drop_to(kCaching ? cap_ : 0);
    }
    free_chain(leaving);
  }

  void shrink_to(size_t bytes) {
    PoolBlock* leaving = nullptr;
    {
      std::lock_guard lock(lock_);
      leaving = drop_to(bytes);
    }
    free_chain(leaving);
  }

  void set_cap(size_t bytes) {
    {
      std::lock_guard lock(lock_);
      cap_ = bytes;
    }
    shrink_to(bytes);
  }

  PoolStats stats() {
    std::lock_guard lock(lock_);
    return {live_, cached_, peak_, cap_, allocations_, hits_};
  }

  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }

 private:
  PoolBlock* make(int size_class, size_t capacity) {
    void* data = system_allocate(capacity);
    if (!data) {  // the cache may hold what is missing
      shrink_to(0);
      data = system_allocate(capacity);
    }
    PoolBlock* block = data ? new (std::nothrow) PoolBlock : nullptr;
    if (!block) {
      system_free(data, capacity);
      return nullptr;
    }
    block->data = static_cast<char*>(data);
    block->capacity = capacity;
    block->pool = this;
    block->size_class = size_class;
    return block;
  }

  void count_live(size_t capacity) {
    live_ += capacity;
    peak_ = std::max(peak_, live_);
  }

  void forget(PoolBlock* block) {
    by_time_.remove(block);
    classes_[block->size_class].remove(block);
    cached_ -= block->capacity;
  }

  // Takes the oldest free blocks out until at most `bytes` are cached; they are freed outside the lock.
  PoolBlock* drop_to(size_t bytes) {
    PoolBlock* chain = nullptr;
    while (cached_ > bytes) {
      PoolBlock* block = by_time_.oldest();
      forget(block);
      block->by_time.newer = chain;
      chain = block;
    }
    return chain;
  }

  static void free_chain(PoolBlock* chain) {
    while (chain) {
      PoolBlock* block = chain;
      chain = block->by_time.newer;
      system_free(block->data, block->capacity);
      delete block;
    }
  }

  SpinLock lock_;
  List<&PoolBlock::in_class> classes_[kClasses + 1];
  List<&PoolBlock::by_time> by_time_;
  size_t live_ = 0, cached_ = 0, peak_ = 0, cap_;
  uint64_t allocations_ = 0, hits_ = 0;
};

namespace {

Pool& pool() {
  static Pool* pool = new Pool;  // never destroyed: arrays may outlive every static
  return *pool;
}

}  // namespace

const ForkHandlers pool_fork_handlers = {[] { pool().lock(); }, [] { pool().unlock(); }, [] { pool().unlock(); }};

Block* pool_allocate(size_t bytes) { return pool().take(bytes); }

Block* allocate(size_t bytes) {
  if (Program* program = recording()) [[unlikely]]
    return program->allocate(bytes);
  return pool().take(bytes);
}

void retain(Block* block) { block->refs.fetch_add(1, std::memory_order_relaxed); }

void release(Block* block) {
  // Where ours is the only reference nobody can make another, and a plain load will do.
  if (block->refs.load(std::memory_order_acquire) != 1 && block->refs.fetch_sub(1, std::memory_order_acq_rel) != 1)
    return;
  if (block->pool) {
    block->pool->give_back(static_cast<PoolBlock*>(block));
  } else {
    block->release(block);
  }
}

PoolStats pool_stats() { return pool().stats(); }
void set_pool_cap(size_t bytes) { pool().set_cap(bytes); }
void release_cached() { pool().shrink_to(0); }

}  // namespace pynn
