#include "runtime/program.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <set>

#include "runtime/fork.h"

namespace pynn {
namespace {

thread_local constinit Program* current = nullptr;

constexpr size_t kParamsAlignment = 16;

std::string quoted(const char* name) { return std::string("'") + name + "'"; }

}  // namespace

// Every program, for the child of a fork; `mutex` also guards the moments in which a program's slots move.
struct ProgramLocks {
  std::mutex mutex;
  std::set<Program*> programs;

  static ProgramLocks& get() {
    static ProgramLocks* locks = new ProgramLocks;
    return *locks;
  }
  // The thread that held a lock for a replay does not exist in the child.
  void renew() {
    for (Program* program : programs) new (&program->mutex_) std::mutex;
  }
};

const ForkHandlers programs_fork_handlers = {
    [] { ProgramLocks::get().mutex.lock(); },
    [] { ProgramLocks::get().mutex.unlock(); },
    [] {
      ProgramLocks::get().renew();
      ProgramLocks::get().mutex.unlock();
    },
};

constinit std::atomic<int> recordings{0};
Program* recorded_by_this_thread() { return current; }

RecordingPause::RecordingPause() : paused_(current) { current = nullptr; }
RecordingPause::~RecordingPause() { current = paused_; }

bool is_shared(const Block* block) {
  const int ours = current && current->owns(block) ? 2 : 1;
  return block->refs.load(std::memory_order_acquire) > ours;
}

Program::Program() {
  std::lock_guard lock(ProgramLocks::get().mutex);
  ProgramLocks::get().programs.insert(this);
}

Program::~Program() {
  if (current == this) current = nullptr;
  {
    std::lock_guard lock(ProgramLocks::get().mutex);
    ProgramLocks::get().programs.erase(this);
  }
  end_recording(State::over);
}

// ---- recording

void Program::begin(bool strict) {
  if (current) throw CaptureError("a capture is under way on this thread already");
  if (state_ != State::empty) throw CaptureError("a program records once");
  enter(State::recording);
  strict_ = strict;
  thread_ = std::this_thread::get_id();
  current = this;
}

void Program::refuse(const std::string& reason) {
  if (refusal_.empty()) refusal_ = reason;
}

void Program::give_up(const std::string& reason) {
  refuse(reason);
  if (strict_) throw CaptureError(reason);
  abort();
}

Program::Slot& Program::add_slot(Kind kind, Block* block) {
  by_address_[block->data] = int(slots_.size());
  slots_.push_back({kind, block, block->data, block->capacity, nullptr, {}});
  return slots_.back();
}

Program::Slot* Program::slot_at(const char* address) {
  for (auto next = by_address_.upper_bound(const_cast<char*>(address)); next != by_address_.begin();) {
    Slot& slot = slots_[(--next)->second];
    if (address <= slot.base + slot.bytes) return &slot;  // one past the end is where an empty view may point
    if (slot.kind != Kind::external) return nullptr;      // foreign arrays may lie in each other
  }
  return nullptr;
}

bool Program::owns(const Block* block) const {
  const auto at = by_address_.find(block->data);
  return at != by_address_.end() && slots_[at->second].block == block && slots_[at->second].kind == Kind::own;
}

bool Program::knows(const Block* block) const { return by_address_.count(block->data) > 0; }

bool Program::writes(const char* begin, const char* end) const {
  for (const Slot& slot : slots_)
    if (slot.kind == Kind::external && slot.writer && begin < slot.base + slot.bytes && slot.base < end) return true;
  return false;
}

void Program::add_input(Block* private_copy) {
  retain(private_copy);
  inputs_.push_back(int(slots_.size()));
  add_slot(Kind::input, private_copy);
}

void Program::know(Block* block) {
  const auto at = by_address_.find(block->data);
  if (at != by_address_.end()) {
    Slot& slot = slots_[at->second];
    if (slot.block == block || slot.kind != Kind::external) return;
    // The same foreign memory, wrapped a second time and perhaps further.
    slot.bytes = std::max(slot.bytes, block->capacity);
    held_.push_back(block);
  } else {
    add_slot(Kind::external, block);
  }
  retain(block);
}

Block* Program::allocate(size_t bytes) {
  const size_t capacity = pool_capacity(bytes);
  for (const int i : by_capacity_[capacity]) {
    Block* block = slots_[i].block;
    if (block->refs.load(std::memory_order_acquire) > 1) continue;
    retain(block);
    return block;
  }
  Block* block = pool_allocate(bytes);
  if (!block) return nullptr;
  retain(block);
  by_capacity_[capacity].push_back(int(slots_.size()));
  add_slot(Kind::own, block);
  return block;
}

void Program::begin_call(const char* name, Run run, void* kernel, const void* params, size_t bytes) {
  const size_t at = (params_.size() + kParamsAlignment - 1) / kParamsAlignment * kParamsAlignment;
  if (at + bytes > UINT32_MAX) return give_up("the capture is too long");
  params_.resize(at + bytes);
  std::memcpy(params_.data() + at, params, bytes);
  calls_.push_back({name, run, kernel, uint32_t(at)});
  open_params_ = static_cast<const char*>(params);
  open_bytes_ = bytes;
}

void Program::add_pointer(void* pointer_field, Access access) {
  if (state_ != State::recording) return;  // given up within this call
  const Call& call = calls_.back();
  const size_t field = size_t(static_cast<char*>(pointer_field) - open_params_);
  if (field > open_bytes_ - sizeof(char*))
    return give_up(quoted(call.name) + " lists a pointer outside its parameters");
  char* address;
  std::memcpy(&address, pointer_field, sizeof address);
  Slot* slot = slot_at(address);
  if (!slot) return give_up(quoted(call.name) + " uses memory that the capture does not know");
  if (access == Access::write) {
    if (slot->kind == Kind::input) {  // the caller's memory would not change now, so that there is no going on
      refuse(quoted(call.name) + " changes an input of the captured function in place");
      throw CaptureError(refusal_);
    }
    slot->writer = call.name;
  }
  slot->fields.push_back(uint32_t(call.params + field));
}

void Program::end_call() { open_params_ = nullptr; }

std::string Program::escapes(const std::vector<Block*>& results) const {
  for (const Slot& slot : slots_) {
    const auto held = 1 + std::count(results.begin(), results.end(), slot.block);
    if (slot.kind != Kind::own || slot.block->refs.load(std::memory_order_acquire) <= held) continue;
    return "an array of " + std::to_string(slot.bytes) + " bytes, made by " +
           (slot.writer ? quoted(slot.writer) : "an op") +
           " during the capture, is still held after it, by something else than what it returns";
  }
  return "";
}

void Program::finish(const std::vector<Block*>& results) {
  if (!recorded_here()) throw CaptureError("finish: this thread does not record the program");
  refuse(escapes(results));
  if (!refusal_.empty()) {
    abort();
    throw CaptureError(refusal_);
  }
  for (Block* block : results) {
    know(block);
    results_.push_back(by_address_.at(block->data));
  }
  for (const int i : inputs_) {  // replays read the caller's memory
    release(slots_[i].block);
    slots_[i].block = nullptr;
  }
  current = nullptr;
  enter(State::ready);
}

void Program::abort() {
  if (current == this) current = nullptr;
  end_recording(State::over);
}

void Program::enter(State state) {
  const State before = state_.exchange(state);
  recordings.fetch_add((state == State::recording) - (before == State::recording), std::memory_order_relaxed);
}

void Program::end_recording(State state) {
  enter(state);
  for (const Slot& slot : slots_)
    if (slot.block) release(slot.block);
  for (Block* block : held_) release(block);
  slots_.clear();
  held_.clear();
  by_address_.clear();
  by_capacity_.clear();
  calls_.clear();
  params_.clear();
}

// ---- replay

void Program::move(Slot& slot, char* base) {
  const ptrdiff_t distance = base - slot.base;
  if (!distance) return;
  for (const uint32_t field : slot.fields) {
    char* pointer;
    std::memcpy(&pointer, params_.data() + field, sizeof pointer);
    pointer += distance;
    std::memcpy(params_.data() + field, &pointer, sizeof pointer);
  }
  slot.base = base;
}

// Points the launches at the inputs, and at other memory for results that somebody still holds.
bool Program::prepare(const std::vector<Memory>& inputs) {
  std::lock_guard lock(ProgramLocks::get().mutex);  // a fork finds every slot in one place
  for (const int i : results_) {
    Slot& slot = slots_[i];
    if (slot.kind != Kind::own || slot.block->refs.load(std::memory_order_acquire) == 1) continue;
    Block* fresh = pool_allocate(slot.bytes);
    if (!fresh) return false;
    release(slot.block);
    slot.block = fresh;
    move(slot, fresh->data);
  }
  for (size_t i = 0; i < inputs_.size(); i++) move(slots_[inputs_[i]], inputs[i].data);
  return true;
}

Status Program::replay(const std::vector<Memory>& inputs, std::vector<Memory>& results, const char** failed) {
  if (current) throw CaptureError("a program cannot be replayed inside a capture");
  std::lock_guard lock(mutex_);
  if (state_ != State::ready) throw CaptureError("replay: the program was not recorded to its end");
  if (inputs.size() != inputs_.size())
    throw std::invalid_argument("replay: expected " + std::to_string(inputs_.size()) + " inputs, got " +
                                std::to_string(inputs.size()));
  *failed = "replay";
  if (!prepare(inputs)) return Status::out_of_memory;
  for (const Call& call : calls_) {
    const Status status = call.run(call.kernel, params_.data() + call.params);
    if (status != Status::ok) {
      *failed = call.name;
      return status;
    }
  }
  for (const Slot& slot : slots_)
    if (slot.kind == Kind::external && slot.writer) slot.block->version.fetch_add(1, std::memory_order_relaxed);
  results.clear();
  for (const int i : results_) {
    const Slot& slot = slots_[i];
    if (slot.kind == Kind::input) {
      results.push_back(inputs[std::find(inputs_.begin(), inputs_.end(), i) - inputs_.begin()]);
    } else {
      results.push_back({slot.block, slot.base});
    }
    retain(results.back().block);
  }
  return Status::ok;
}

bool Program::recorded_here() const { return state_ == State::recording && thread_ == std::this_thread::get_id(); }

std::vector<const char*> Program::calls() const {
  std::vector<const char*> names;
  for (const Call& call : calls_) names.push_back(call.name);
  return names;
}

size_t Program::bytes() const {
  size_t sum = 0;
  for (const Slot& slot : slots_)
    if (slot.kind == Kind::own) sum += slot.bytes;
  return sum;
}

}  // namespace pynn
