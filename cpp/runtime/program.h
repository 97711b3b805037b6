// A recorded sequence of launches that can be run again on other inputs.
//
// While a thread records, each launch appends its struct, and every pointer in it must lie inside a block the program
// knows: one of its own, an input, or an external block that it then holds. A replay points the launches at the
// caller's inputs and never writes memory that anybody outside still holds: such a result gets another block first.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runtime/pool.h"
#include "runtime/types.h"

namespace pynn {

enum class Access : uint8_t { read, write };  // write also stands for read and write

struct CaptureError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Program;
// How many programs are being recorded, on any thread: most of the time none, and recording() is one load.
extern std::atomic<int> recordings;
Program* recorded_by_this_thread();
// The program that this thread records, or null
inline Program* recording() { return recordings.load(std::memory_order_relaxed) ? recorded_by_this_thread() : nullptr; }

// Within its scope this thread records nothing and allocates no private memory.
class RecordingPause {
 public:
  RecordingPause();
  ~RecordingPause();
  RecordingPause(const RecordingPause&) = delete;
  RecordingPause& operator=(const RecordingPause&) = delete;

 private:
  Program* const paused_;
};

class Program {
 public:
  using Run = Status (*)(void* kernel, const void* params);
  struct Memory {
    Block* block;
    char* data;
  };

  Program();
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Recording, on the thread that began it. Errors are CaptureErrors; after one, finish() repeats it. A recording that
  // is not strict ends where it meets what it cannot record, and the thread goes on without it.
  void begin(bool strict = true);       // throws where this thread records already
  void add_input(Block* private_copy);  // made outside the recording; a replay reads the caller's memory instead
  void know(Block* block);              // external memory: the program holds it from now on
  Block* allocate(size_t bytes);        // memory of the program, reused once nobody else holds it
  void begin_call(const char* name, Run run, void* kernel, const void* params, size_t bytes);
  void add_pointer(void* pointer_field, Access access);
  void end_call();
  void refuse(const std::string& reason);   // the recording is no good; the first reason is kept
  void give_up(const std::string& reason);  // the same; throws where it is strict, else ends the recording
  // What was made while recording and is held by somebody beside the results, one reference for each of these: a replay
  // would change it or leave it stale.
  std::string escapes(const std::vector<Block*>& results) const;
  void finish(const std::vector<Block*>& results);  // ends the recording; throws where it was refused or leaks memory
  void abort();                                     // ends the recording; what it made lives on for those who hold it

  // Replay, on any thread, one at a time. `inputs` in their order. For each result its block, with a reference for the
  // caller, and where the block's data begins. Where a launch fails, `failed` is its name and there are no results.
  Status replay(const std::vector<Memory>& inputs, std::vector<Memory>& results, const char** failed);

  bool owns(const Block* block) const;
  bool knows(const Block* block) const;                   // some call uses it
  bool writes(const char* begin, const char* end) const;  // some call writes there, into memory of outside
  const std::string& refusal() const { return refusal_; }
  bool is_strict() const { return strict_; }
  bool recorded_here() const;  // this thread records it
  bool is_recording() const { return state_ == State::recording; }
  std::vector<const char*> calls() const;
  size_t bytes() const;  // its own memory

 private:
  friend struct ProgramLocks;
  enum class State : uint8_t { empty, recording, ready, over };
  enum class Kind : uint8_t { own, input, external };

  // A block that launches point into. A replay may move it: `base` is where the launches point at present.
  struct Slot {
    Kind kind;
    Block* block;
    char* base;
    size_t bytes;
    const char* writer = nullptr;  // the last launch that wrote it
    std::vector<uint32_t> fields;  // offsets in params_ of the pointers into it
  };
  struct Call {
    const char* name;
    Run run;
    void* kernel;
    uint32_t params;  // offset
  };

  Slot& add_slot(Kind kind, Block* block);
  Slot* slot_at(const char* address);
  void move(Slot& slot, char* base);
  bool prepare(const std::vector<Memory>& inputs);
  void enter(State state);
  void end_recording(State state);

  std::atomic<State> state_{State::empty};
  bool strict_ = true;
  std::mutex mutex_;  // held for a whole replay
  std::thread::id thread_;
  std::string refusal_;
  std::vector<Slot> slots_;
  std::map<char*, int> by_address_;
  std::map<size_t, std::vector<int>> by_capacity_;  // own slots
  std::vector<int> inputs_, results_;               // slots
  std::vector<Block*> held_;                        // external memory that overlaps a slot
  std::vector<Call> calls_;
  std::vector<char> params_;
  const char* open_params_ = nullptr;  // of the call between begin_call and end_call
  size_t open_bytes_ = 0;
};

// Whether somebody beside the caller (and the program that this thread records) holds the block.
bool is_shared(const Block* block);

}  // namespace pynn
