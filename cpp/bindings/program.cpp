// Recording and replay, as Python sees them.
#include "runtime/program.h"

#include <pybind11/stl.h>

#include <cstring>

#include "bindings/families.h"
#include "bindings/tensor.h"

namespace pynn {
namespace {

PyObject* capture_error = nullptr;

// An array's layout without its memory.
Array layout_of(const Array& a) {
  Array layout{};
  std::memcpy(&layout.block, &a.block, sizeof(Array) - offsetof(Array, block));
  layout.block = nullptr;
  return layout;
}

class PyProgram {
 public:
  PyProgram() : program_(new Program) {}
  ~PyProgram() {
    // A recording belongs to its thread: dropped from another one it is left alone, for that thread points to it.
    if (!program_->is_recording() || program_->recorded_here()) delete program_;
  }
  PyProgram(const PyProgram&) = delete;
  PyProgram& operator=(const PyProgram&) = delete;

  void begin(bool strict) { program_->begin(strict); }

  // The copy keeps two uses of one array apart: f(u, u) now may be f(u, v) later. The program need not know `given`.
  ArrayRef input(const py::object& given) {
    const ArrayRef a = wrap(given, "input");
    if (!program_->recorded_here()) throw CaptureError("input: this thread does not record the program");
    ArrayRef copy;
    {
      RecordingPause pause;
      copy = new_like_strided(*a);
      copy_into(*a, *copy);
    }
    program_->add_input(copy->block);
    inputs_.push_back(layout_of(*copy));
    return copy;
  }

  void finish(const std::vector<ArrayRef>& results) {
    if (!program_->recorded_here()) throw CaptureError("finish: this thread does not record the program");
    std::vector<Block*> blocks;
    for (const ArrayRef& r : results) blocks.push_back(r->block);
    if (!program_->escapes(blocks).empty()) {  // perhaps only a reference cycle holds it
      RecordingPause pause;
      py::module_::import("gc").attr("collect")();
    }
    program_->finish(blocks);
    for (const ArrayRef& r : results) {
      results_.push_back(layout_of(*r));
      results_.back().data = reinterpret_cast<char*>(r->data - r->block->data);  // an offset from here on
    }
  }

  void abort() {
    if (!program_->is_recording()) return;
    if (!program_->recorded_here()) throw CaptureError("abort: another thread records the program");
    program_->abort();
  }

  std::vector<ArrayRef> replay(std::vector<ArrayRef> inputs) {
    std::vector<Program::Memory> memory, blocks;
    for (size_t i = 0; i < inputs.size() && i < inputs_.size(); i++) inputs[i] = as_recorded(inputs[i], i);
    for (const ArrayRef& a : inputs) memory.push_back({a->block, a->data});
    const char* failed = nullptr;
    Status status;
    {
      py::gil_scoped_release unlocked;  // before the program's lock: its holder may want the GIL
      status = program_->replay(memory, blocks, &failed);
    }
    if (status != Status::ok) fail_status(status, failed);
    std::vector<ArrayRef> results;
    for (size_t i = 0; i < blocks.size(); i++) {
      Array layout = results_[i];
      layout.block = blocks[i].block;
      layout.data = blocks[i].data + reinterpret_cast<ptrdiff_t>(results_[i].data);
      results.push_back(view(layout));
      release(blocks[i].block);  // the view holds it
    }
    return results;
  }

  std::vector<const char*> calls() const { return program_->calls(); }
  size_t bytes() const { return program_->bytes(); }
  bool knows(const py::object& array) const {
    check_array(array.ptr(), "knows");
    return program_->knows(reinterpret_cast<Array*>(array.ptr())->block);
  }
  const std::string& refusal() const { return program_->refusal(); }

 private:
  // Launches know the recorded strides: another layout costs one copy.
  ArrayRef as_recorded(const ArrayRef& given, size_t i) const {
    const Array& recorded = inputs_[i];
    const std::string name = "replay: input " + std::to_string(i);
    if (given->dtype != recorded.dtype)
      fail_type(name + " was recorded with dtype " + dtype_name(recorded.dtype) + ", got " + dtype_name(given->dtype));
    if (given->dims != recorded.dims || !std::equal(recorded.shape, recorded.shape + recorded.dims, given->shape))
      fail(name + " was recorded with shape " + shape_string(recorded) + ", got " + shape_string(*given));
    if (same_layout(*given, recorded)) return given;
    ArrayRef copy = new_like_strided(recorded);
    copy_into(*given, *copy);
    return copy;
  }

  Program* const program_;
  std::vector<Array> inputs_, results_;
};

}  // namespace

void check_host_access(const char* what) {
  Program* program = recording();
  if (!program) [[likely]]
    return;
  const std::string reason =
      std::string(what) + " is read during a capture: a replay fills that memory later, and the host would not see it";
  if (!program->is_strict()) return program->give_up(reason);
  program->refuse(reason);
  PyErr_SetString(capture_error, reason.c_str());
  throw py::error_already_set();
}

void bind_program(py::module_& m) {
  capture_error = py::register_exception<CaptureError>(m, "CaptureError", PyExc_RuntimeError).ptr();
  py::class_<PyProgram>(m, "Program", "A recorded sequence of kernel calls.")
      .def(py::init<>())
      .def("begin", &PyProgram::begin, py::arg("strict") = true,
           "Record every kernel call of this thread from now on. What cannot be recorded is a CaptureError or, unless "
           "`strict`, ends the recording: `refusal` says why.")
      .def("input", &PyProgram::input, "A private copy of an input, to be used in its place while recording.")
      .def("finish", &PyProgram::finish, py::arg("results"), "End the recording; `results` are what a replay gives.")
      .def("abort", &PyProgram::abort, "End the recording and drop it.")
      .def("replay", &PyProgram::replay, py::arg("inputs"), "Run all calls on other inputs; gives the results.")
      .def("knows", &PyProgram::knows, py::arg("array"), "Whether a call uses this memory.")
      .def_property_readonly("refusal", &PyProgram::refusal, "Why the recording is no good; empty where it is.")
      .def_property_readonly("calls", &PyProgram::calls, "The names of the recorded calls.")
      .def_property_readonly("nbytes", &PyProgram::bytes, "The program's own memory.");
  m.def("is_recording", [] { return recording() != nullptr; });
}

}  // namespace pynn
