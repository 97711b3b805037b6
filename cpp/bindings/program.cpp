// Recording and replay, as Python sees them.
#include "runtime/program.h"

#include <pybind11/stl.h>

#include <cstring>
#include <unordered_map>

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

// A tensor that a recorded call uses and that is not made in it, as it was before.
struct TouchedTensor {
  py::object tensor, array, grad;
  bool requires_grad, uses_grad;
};
using Touched = std::unordered_map<PyObject*, TouchedTensor>;
thread_local Touched* touched_here = nullptr;  // of the program that this thread records

// A copy with the same strides, gaps included, since the order in memory of what is computed from it may depend on
// them; dense where that would take much more memory.
ArrayRef copy_with_strides(const Array& a) {
  const Extent memory = extent(a);
  const size_t bytes = size_t(memory.end - memory.begin);
  if (a.size == 0 || is_dense(a) || bytes > 4 * a.bytes() + (size_t(1) << 20)) {
    const ArrayRef dense = new_like_strided(a);
    copy_into(a, *dense);
    return dense;
  }
  const ArrayRef raw = new_array(DType::uint8, {int64_t(bytes)});
  std::memcpy(raw->data, memory.begin, bytes);
  Array layout = layout_of(a);
  layout.block = raw->block;
  layout.data = raw->data + (a.data - memory.begin);
  return view(layout);
}

class PyProgram {
 public:
  PyProgram() : program_(new Program), touched_(new Touched) {}
  ~PyProgram() {
    // A recording belongs to its thread: dropped from another one it is left alone, for that thread points to it.
    if (program_->is_recording() && !program_->recorded_here()) return;
    if (touched_here == touched_) touched_here = nullptr;
    delete touched_;
    delete program_;
  }
  PyProgram(const PyProgram&) = delete;
  PyProgram& operator=(const PyProgram&) = delete;

  void begin(bool strict) {
    program_->begin(strict);
    touched_here = touched_;
  }

  // Those that somebody else holds, too: (tensor, array, grad, requires_grad, whether .grad was used). They are let go,
  // and no more are noted.
  py::list touched() {
    if (touched_here == touched_) touched_here = nullptr;
    Touched all;
    all.swap(*touched_);
    py::list result;
    for (const auto& [key, t] : all)
      if (Py_REFCNT(key) > 1)  // else a view made in the call, of memory of outside
        result.append(py::make_tuple(t.tensor, t.array, t.grad, t.requires_grad, t.uses_grad));
    return result;
  }

  // Whether some array lies in memory of outside that a call writes to. As in knows(), these are no arguments of a
  // kernel, which the program would hold from now on.
  bool overwrites(const py::list& arrays) const {
    for (py::handle a : arrays) {
      check_array(a.ptr(), "overwrites");
      const Extent memory = extent(*reinterpret_cast<Array*>(a.ptr()));
      if (program_->writes(memory.begin, memory.end)) return true;
    }
    return false;
  }

  // The copy keeps two uses of one array apart: f(u, u) now may be f(u, v) later. The program need not know `given`.
  ArrayRef input(const py::object& given) {
    const ArrayRef a = wrap(given, "input");
    if (!program_->recorded_here()) throw CaptureError("input: this thread does not record the program");
    ArrayRef copy;
    {
      RecordingPause pause;
      copy = copy_with_strides(*a);
    }
    program_->add_input(copy->block);
    inputs_.push_back(layout_of(*copy));
    inputs_.back().data = reinterpret_cast<char*>(copy->data - copy->block->data);  // an offset from here on
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
    for (size_t i = 0; i < inputs.size(); i++) {
      const ptrdiff_t offset = i < inputs_.size() ? reinterpret_cast<ptrdiff_t>(inputs_[i].data) : 0;
      memory.push_back({inputs[i]->block, inputs[i]->data - offset});
    }
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
  // Launches know the recorded strides: another layout costs one copy, or is an error where they have gaps.
  ArrayRef as_recorded(const ArrayRef& given, size_t i) const {
    const Array& recorded = inputs_[i];
    const std::string name = "replay: input " + std::to_string(i);
    if (given->dtype != recorded.dtype)
      fail_type(name + " was recorded with dtype " + dtype_name(recorded.dtype) + ", got " + dtype_name(given->dtype));
    if (given->dims != recorded.dims || !std::equal(recorded.shape, recorded.shape + recorded.dims, given->shape))
      fail(name + " was recorded with shape " + shape_string(recorded) + ", got " + shape_string(*given));
    if (same_layout(*given, recorded)) return given;
    if (!is_dense(recorded)) fail(name + " was recorded with gaps between its elements, and other strides were given");
    ArrayRef copy = new_like_strided(recorded);
    copy_into(*given, *copy);
    return copy;
  }

  Program* const program_;
  Touched* const touched_;
  std::vector<Array> inputs_, results_;
};

}  // namespace

void touch_recorded(PyObject* tensor, bool grad) {
  const Tensor& t = *tensor_of(tensor);
  if (!touched_here || !t.array) return;
  if (const auto known = touched_here->find(tensor); known != touched_here->end()) {
    known->second.uses_grad |= grad;
    return;
  }
  if (Py_TYPE(t.array) == array_type && recording()->owns(reinterpret_cast<Array*>(t.array)->block)) return;
  const auto object = [](PyObject* o) { return py::reinterpret_borrow<py::object>(o ? o : Py_None); };
  touched_here->emplace(tensor,
                        TouchedTensor{object(tensor), object(t.array), object(t.grad), t.requires_grad != 0, grad});
}

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
      .def("touched", &PyProgram::touched, "The tensors that the recorded calls used, as they were before.")
      .def("overwrites", &PyProgram::overwrites, py::arg("arrays"),
           "Whether some of these lies in memory that a call changes in place.")
      .def("knows", &PyProgram::knows, py::arg("array"), "Whether a call uses this memory.")
      .def_property_readonly("refusal", &PyProgram::refusal, "Why the recording is no good; empty where it is.")
      .def_property_readonly("calls", &PyProgram::calls, "The names of the recorded calls.")
      .def_property_readonly("nbytes", &PyProgram::bytes, "The program's own memory.");
  m.def("is_recording", [] { return recording() != nullptr; });
}

}  // namespace pynn
