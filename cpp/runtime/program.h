// A recorded sequence of launches that can be run again on other inputs.
//
// While a thread records, each launch appends its struct, and every pointer in it must lie inside a block the program
// knows: one from its private pool, an input, or an external block it then holds. A replay patches the pointers of
// the inputs and never writes memory that anybody outside still holds: such a result gets another block first.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/pool.h"
#include "runtime/types.h"

namespace pynn {

enum class Access : uint8_t { read, write };  // write also stands for read and write

struct CaptureError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Program;
Program* recording();  // the program that this thread records, or null

class Program {
 public:
  using Run = Status (*)(void* kernel, const void* params);

  Program();
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Recording, on one thread.
  void begin();                         // throws CaptureError where this thread records already
  void add_input(Block* private_copy);  // a copy made while recording; a replay reads the caller's memory instead
  void know(Block* block);              // external memory: the program holds it from now on
  void begin_call(const char* name, Run run, void* kernel, const void* params, size_t bytes);
  void add_pointer(void* pointer_field, Access access);
  void end_call();
  void finish(const std::vector<Block*>& results);  // ends the recording; throws where something else is still held
  void abort();

  // Replay, on any thread, one at a time. `inputs` are the data pointers of the inputs in their order. Gives the
  // blocks of the results, each with a reference for the caller.
  Status replay(const std::vector<char*>& inputs, std::vector<Block*>& results);

  size_t calls() const;
  size_t bytes() const;  // private memory
  Block* allocate(size_t bytes);
};

}  // namespace pynn
