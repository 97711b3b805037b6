// The tape: the nodes that say how tensors were computed, and the walk back. An op's backward is a Python closure; what
// happens for every op is here (a third of the time of a small training step, when it was Python).
#include <structmember.h>

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "bindings/families.h"
#include "bindings/tensor.h"

namespace pynn {
namespace {

// One recorded op. It holds arrays and other nodes, never the tensors of its output, so that no cycle keeps memory.
struct Node {
  PyObject_VAR_HEAD uint64_t order;  // later ops have higher numbers
  PyObject* name;
  PyObject* backward;     // grad -> gradients of the inputs; null once it is used
  PyObject* inputs;       // of each: its node, the leaf itself, or None where no gradient is wanted; null likewise
  PyObject* saved;        // a tuple of the arrays (or None) that backward reads; null likewise
  PyObject* activation;   // the name of what the op did last, its output the last of `saved`; null: nothing
  bool takes_activation;  // backward(grad, output, name, overwrite) also multiplies by an activation's derivative
  uint32_t users;         // how many recorded ops send it a gradient
  uint32_t versions[1];   // of each of them when it was saved
};

PyTypeObject* node_type = nullptr;
thread_local bool recording_gradients = true;
uint64_t next_order = 0;

Node* node_of(PyObject* o) { return reinterpret_cast<Node*>(o); }

int traverse_node(PyObject* o, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(o));
  Py_VISIT(node_of(o)->backward);
  Py_VISIT(node_of(o)->inputs);
  return 0;
}

int clear_node(PyObject* o) {
  Py_CLEAR(node_of(o)->backward);
  Py_CLEAR(node_of(o)->inputs);
  Py_CLEAR(node_of(o)->saved);
  return 0;
}

void dealloc_node(PyObject* o) {
  PyObject_GC_UnTrack(o);
  Py_TRASHCAN_BEGIN(o, dealloc_node)  // a chain of any length is let go without recursion
      PyTypeObject* type = Py_TYPE(o);
  clear_node(o);
  Py_CLEAR(node_of(o)->name);
  Py_CLEAR(node_of(o)->activation);
  PyObject_GC_Del(o);
  Py_DECREF(type);
  Py_TRASHCAN_END
}

PyMemberDef node_members[] = {{"name", T_OBJECT, offsetof(Node, name), READONLY, nullptr}, {nullptr, 0, 0, 0, nullptr}};
PyType_Slot node_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_node)}, {Py_tp_traverse, reinterpret_cast<void*>(traverse_node)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_node)},     {Py_tp_members, node_members},
    {Py_tp_doc, const_cast<char*>("One recorded op.")},     {0, nullptr}};
PyType_Spec node_spec = {"pynn._core.Node", offsetof(Node, versions), sizeof(uint32_t),
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, node_slots};

py::object borrow(PyObject* o) { return py::reinterpret_borrow<py::object>(o); }

py::object object_of(ArrayRef array) {
  return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(array.release()));
}

bool wants_gradient(PyObject* input) {
  if (input == Py_None) return false;
  if (!is_tensor(input))
    fail_type(std::string("expected Tensors or None as inputs of an op, got ") + Py_TYPE(input)->tp_name);
  return tensor_of(input)->requires_grad;
}

uint32_t version(PyObject* array) {
  return array == Py_None ? 0 : reinterpret_cast<Array*>(array)->block->version.load();
}

py::object new_node(PyObject* name, PyObject* inputs, PyObject* backward, PyObject* saved, PyObject* activation,
                    bool takes_activation) {
  const Py_ssize_t saved_count = PyTuple_GET_SIZE(saved), input_count = PyTuple_GET_SIZE(inputs);
  for (Py_ssize_t i = 0; i < saved_count; i++) {
    PyObject* array = PyTuple_GET_ITEM(saved, i);
    if (array != Py_None) check_array(array, "record: saved");
  }
  py::tuple targets(input_count);
  for (Py_ssize_t i = 0; i < input_count; i++) {
    PyObject* input = PyTuple_GET_ITEM(inputs, i);
    PyObject* node = !wants_gradient(input) ? nullptr : tensor_of(input)->node;
    if (node) node_of(node)->users++;
    PyTuple_SET_ITEM(targets.ptr(), i, own(!wants_gradient(input) ? Py_None : node ? node : input));
  }
  Node* node = PyObject_GC_NewVar(Node, node_type, saved_count);
  if (!node) throw py::error_already_set();
  node->order = next_order++;
  node->name = own(name);
  node->backward = own(backward);
  node->inputs = targets.release().ptr();
  node->saved = own(saved);
  node->activation = activation ? own(activation) : nullptr;
  node->takes_activation = takes_activation;
  node->users = 0;
  for (Py_ssize_t i = 0; i < saved_count; i++) node->versions[i] = version(PyTuple_GET_ITEM(saved, i));
  PyObject_GC_Track(node);
  return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(node));
}

py::object record(PyObject* const* args, Py_ssize_t count) {
  if (count < 4 || count > 7)
    fail_type("record: expected name, array, inputs, backward and perhaps saved, activation, takes_activation");
  PyObject *array = args[1], *inputs = args[2];
  check_array(array, "record");
  if (!PyTuple_Check(inputs) || (count > 4 && !PyTuple_Check(args[4])))
    fail_type("record: expected tuples as inputs and saved");
  if (count > 5 && !PyUnicode_Check(args[5])) fail_type("record: expected the name of an activation");
  PyObject* activation = count > 5 && PyUnicode_CompareWithASCIIString(args[5], "none") ? args[5] : nullptr;
  if (activation && (!PyTuple_GET_SIZE(args[4]) || PyTuple_GET_ITEM(args[4], PyTuple_GET_SIZE(args[4]) - 1) != array))
    fail_type("record: expected the output of an activation as the last of saved");
  py::object out = new_tensor(array);
  bool wanted = false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(inputs); i++) wanted |= wants_gradient(PyTuple_GET_ITEM(inputs, i));
  if (!wanted || !recording_gradients) return out;
  const py::object saved = count > 4 ? borrow(args[4]) : py::tuple();
  const bool takes_activation = count > 6 && args[6] == Py_True;
  tensor_of(out.ptr())->node =
      new_node(args[0], inputs, args[3], saved.ptr(), activation, takes_activation).release().ptr();
  tensor_of(out.ptr())->requires_grad = 1;
  return out;
}

[[noreturn]] void fail_runtime(const std::string& message) {
  PyErr_SetString(PyExc_RuntimeError, message.c_str());
  throw py::error_already_set();
}

void check_unchanged(const Node& node, const std::string& name) {
  for (Py_ssize_t i = 0; i < Py_SIZE(&node); i++) {
    PyObject* array = PyTuple_GET_ITEM(node.saved, i);
    if (version(array) == node.versions[i]) continue;
    fail_runtime("backward of '" + name + "' needs an array of shape " +
                 shape_string(*reinterpret_cast<Array*>(array)) +
                 " that an in-place operation has changed since (version " + std::to_string(version(array)) +
                 ", expected " + std::to_string(node.versions[i]) + ")");
  }
}

// Adds to the .grad of a leaf. The first gradient becomes it, copied where anything else can see its memory and where
// it is an expanded view, since later ones are added in place.
void accumulate(PyObject* leaf, py::object gradient) {
  Tensor* t = tensor_of(leaf);
  touch(leaf, true);
  if (t->grad && t->grad != Py_None) {
    if (!is_tensor(t->grad))
      fail_type(std::string("backward: expected a Tensor or None as .grad, got ") + Py_TYPE(t->grad)->tp_name);
    add_in_place(array_of(t->grad), argument(gradient));
    return;
  }
  const Array& array = *reinterpret_cast<Array*>(gradient.ptr());
  if (Py_REFCNT(gradient.ptr()) > 1 || is_shared(array.block) || !array.block->pool || !is_dense(array)) {
    gradient = object_of(copy(argument(gradient), true));
  }
  PyObject* before = t->grad;
  t->grad = new_tensor(gradient.ptr()).release().ptr();
  Py_XDECREF(before);
}

struct Pending {
  py::object node, gradient;
  bool before_activation = false;  // the gradient is that of what the node's activation was applied to
};

PyObject* output_of_activation(const Node& node) {
  return PyTuple_GET_ITEM(node.saved, PyTuple_GET_SIZE(node.saved) - 1);
}

// Takes the output of its activation from a node, if nobody else sees it; the gradient may then lie in its memory. What
// the node saved may not have changed until here, since there is no asking any more.
bool give_up_output(Node& node) {
  const Py_ssize_t last = Py_SIZE(&node) - 1;
  PyObject* output = output_of_activation(node);
  const Block* block = reinterpret_cast<Array*>(output)->block;
  // One reference is the caller's.
  if (Py_REFCNT(node.saved) > 1 || Py_REFCNT(output) > 2 || is_shared(block) || !block->pool || block->readonly ||
      version(output) != node.versions[last])
    return false;
  PyTuple_SET_ITEM(node.saved, last, own(Py_None));
  node.versions[last] = 0;
  Py_DECREF(output);
  return true;
}

// The op before `node` where that applied an activation for `node` alone, whose backward multiplies by its derivative
// in the pass that it makes anyway. The product of several gradients' sum would have other bits. Whether the output was
// changed since is asked when the walk comes to its own op.
Node* activation_before(const Node& node, const py::object& inputs) {
  PyObject* target = node.takes_activation ? PyTuple_GET_ITEM(inputs.ptr(), 0) : Py_None;
  if (Py_TYPE(target) != node_type) return nullptr;
  Node* before = node_of(target);
  const bool waits = before->activation && before->users == 1 && before->backward;
  return waits && output_of_activation(*before) != Py_None ? before : nullptr;
}

// The gradients of `inputs` by a node's `backward`; `before`, if any, is its activation_before.
std::vector<py::object> call_backward(const py::object& backward, const py::object& inputs, const std::string& name,
                                      py::object gradient, Node* before, bool retain_graph) {
  const py::object output = before ? borrow(output_of_activation(*before)) : py::object();
  PyObject* const overwrite = before && !retain_graph && give_up_output(*before) ? Py_True : Py_False;
  const py::object result = py::reinterpret_steal<py::object>(
      before ? PyObject_CallFunctionObjArgs(backward.ptr(), gradient.ptr(), output.ptr(), before->activation, overwrite,
                                            nullptr)
             : PyObject_CallOneArg(backward.ptr(), gradient.ptr()));
  if (!result) throw py::error_already_set();
  if (!PyTuple_Check(result.ptr()) && !PyList_Check(result.ptr()))
    fail_type("backward of '" + name + "': expected a tuple of gradients, got " + Py_TYPE(result.ptr())->tp_name);
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(result.ptr());
  if (count != PyTuple_GET_SIZE(inputs.ptr()))
    fail("backward of '" + name + "': expected " + std::to_string(PyTuple_GET_SIZE(inputs.ptr())) + " gradients, got " +
         std::to_string(count));
  PyObject** items = PySequence_Fast_ITEMS(result.ptr());
  std::vector<py::object> gradients(count);
  for (Py_ssize_t i = 0; i < count; i++) {
    if (items[i] != Py_None) check_array(items[i], name.c_str());
    gradients[i] = borrow(items[i]);
  }
  return gradients;
}

// Walks from `start`, newest node first; what a node saved is freed as it is used unless `retain_graph`.
void run_backward(PyObject* start, py::object gradient, bool retain_graph) {
  if (!tensor_of(start)->node) return accumulate(start, gradient);
  std::map<uint64_t, Pending, std::greater<>> pending;  // by order
  pending[node_of(tensor_of(start)->node)->order] = {borrow(tensor_of(start)->node), std::move(gradient)};
  while (!pending.empty()) {
    Pending newest = std::move(pending.begin()->second);
    pending.erase(pending.begin());
    Node& node = *node_of(newest.node.ptr());
    const std::string name = py::cast<std::string>(node.name);
    if (!node.backward)
      fail_runtime("backward through '" + name +
                   "' a second time: what it saved is freed; pass retain_graph=True to the "
                   "first backward()");
    check_unchanged(node, name);
    // Held, since what runs below may walk here again, in Python or on another thread, and clear the node.
    const py::object backward = borrow(node.backward), inputs = borrow(node.inputs);
    if (node.activation && !newest.before_activation) {
      if (output_of_activation(node) == Py_None)
        fail_runtime("backward through '" + name + "' a second time: a walk that failed has used its output");
      newest.gradient = object_of(activation_backward(argument(newest.gradient), argument(output_of_activation(node)),
                                                      py::cast<std::string>(node.activation)));
    }
    Node* const before = activation_before(node, inputs);
    std::vector<py::object> gradients =
        call_backward(backward, inputs, name, std::move(newest.gradient), before, retain_graph);
    if (!retain_graph) clear_node(newest.node.ptr());
    for (Py_ssize_t i = PyTuple_GET_SIZE(inputs.ptr()); i--;) {
      PyObject* target = PyTuple_GET_ITEM(inputs.ptr(), i);
      py::object part = std::move(gradients[i]);
      if (target == Py_None || part.is_none()) continue;
      if (Py_TYPE(target) != node_type) {
        accumulate(target, std::move(part));
        continue;
      }
      Pending& there = pending[node_of(target)->order];
      if (!there.node) {
        there = {borrow(target), std::move(part), before == node_of(target)};
      } else {
        there.gradient = object_of(add(argument(there.gradient), argument(part)));
      }
    }
  }
}

PyObject* py_record(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] { return record(args, count); });
}

bool is_recorded(PyObject* const* operands, Py_ssize_t count) {
  bool wanted = false;
  for (Py_ssize_t i = 0; i < count; i++) wanted |= is_tensor(operands[i]) && tensor_of(operands[i])->requires_grad;
  return wanted && recording_gradients;
}

PyObject* py_is_recorded(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return PyBool_FromLong(is_recorded(args, count));
}

PyObject* py_wrap_or_record(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] {
    if (count < 2) fail_type("wrap_or_record: expected a function, an array and the operands");
    check_array(args[1], "wrap_or_record");
    if (!is_recorded(args + 2, count - 2)) return new_tensor(args[1]);
    return py::reinterpret_steal<py::object>(PyObject_Vectorcall(args[0], args + 1, size_t(count - 1), nullptr));
  });
}

PyObject* py_is_grad_enabled(PyObject*, PyObject*) { return PyBool_FromLong(recording_gradients); }

PyObject* py_set_grad_enabled(PyObject*, PyObject* mode) {
  const int enabled = PyObject_IsTrue(mode);
  return enabled < 0 ? nullptr : PyBool_FromLong(std::exchange(recording_gradients, enabled != 0));
}

PyMethodDef tape_methods[] = {
    {"record", as_method(py_record), METH_FASTCALL,
     "record($module, name, array, inputs, backward, saved=(), activation='none', takes_activation=False, /)\n--\n\n"
     "The tensor of an op's output `array`, on the tape where an input requires grad.\n\n"
     "`backward(grad)` takes the gradient of the output and gives one gradient (or None) per input, all as arrays.\n"
     "`inputs` are tensors, or None where no gradient ever goes. `saved` are the arrays (or None) that backward will "
     "read:\n"
     "an in-place change to one of them is an error then.\n"
     "`activation`: what the op did last, its output the last of `saved`; the tape multiplies the gradient by its "
     "derivative,\n"
     "and backward takes the product. Or the op that the output goes to does so, if it is the only one and was "
     "recorded\n"
     "with `takes_activation`: it is called as backward(grad, output, activation, overwrite), the last whether its "
     "gradient\n"
     "may lie in the memory of `output`."},
    {"is_recorded", as_method(py_is_recorded), METH_FASTCALL,
     "is_recorded($module, *tensors)\n--\n\nWhether an op on these goes on the tape: a tensor that requires grad is "
     "among them."},
    {"wrap_or_record", as_method(py_wrap_or_record), METH_FASTCALL,
     "wrap_or_record($module, record, array, /, *operands)\n--\n\nA tensor on `array`, outside the tape unless an "
     "operand is a tensor that requires grad: then record(array, *operands)."},
    {"is_grad_enabled", py_is_grad_enabled, METH_NOARGS,
     "is_grad_enabled($module, /)\n--\n\nWhether ops on this thread are recorded."},
    {"set_grad_enabled", py_set_grad_enabled, METH_O,
     "set_grad_enabled($module, mode, /)\n--\n\nWhether ops on this thread are recorded from now on; returns what was "
     "before."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void bind_tape(py::module_& m) {
  node_type = make_type(m, node_spec, "Node");
  if (PyModule_AddFunctions(m.ptr(), tape_methods)) throw py::error_already_set();
  m.def(
      "run_backward",
      [](const py::object& tensor, py::object gradient, bool retain_graph) {
        if (!is_tensor(tensor.ptr())) fail_type("run_backward: expected a Tensor");
        if (gradient.is_none()) {
          const ArrayRef array = array_of(tensor.ptr());
          if (array->size != 1)
            fail_runtime("backward of shape " + shape_string(*array) +
                         " needs a gradient; only a single element has one by itself");
          gradient = object_of(full_like(array, py::int_(1)));
        }
        check_array(gradient.ptr(), "run_backward");
        run_backward(tensor.ptr(), std::move(gradient), retain_graph);
      },
      "Walks the tape from a tensor, newest node first, adding to the .grad of every leaf that it reaches. A gradient "
      "None is that of a single element, 1.");
}

}  // namespace pynn
