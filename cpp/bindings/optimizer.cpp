// SGD and Adam over lists of arrays.
#include "ops/optimizer.h"

#include <vector>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

using Arrays = std::vector<ArrayRef>;

constexpr double kStepCost = 0.3;  // ns an element

Arrays arrays(const py::list& list) {
  Arrays result;
  result.reserve(list.size());
  for (py::handle item : list) result.push_back(py::cast<ArrayRef>(item));
  return result;
}

// The parameters of one call: dense, each operand of its parameter's dtype and memory order.
struct Lists {
  const char* op;
  Arrays values, grads;
  std::vector<Arrays> states;

  Lists(const char* op, const py::list& values_given, const py::list& grads_given,
        std::initializer_list<const py::list*> states_given)
      : op(op), values(arrays(values_given)), grads(arrays(grads_given)) {
    for (const py::list* list : states_given) states.push_back(arrays(*list));
    check_length(grads.size(), "gradients");
    for (const Arrays& state : states)
      if (!state.empty()) check_length(state.size(), "states");
    for (size_t i = 0; i < values.size(); i++) {
      check_float(*values[i], op, "a parameter");
      if (!is_dense(*values[i])) fail(std::string(op) + ": expected dense parameters, got a strided view");
      grads[i] = in_order_of(*values[i], grads[i]);
      for (const Arrays& state : states)
        if (!state.empty()) check_state(*values[i], *state[i]);
    }
    for (size_t i = 0; i < values.size(); i++) {
      mark_written(*values[i]);
      for (const Arrays& state : states)
        if (!state.empty()) mark_written(*state[i]);
    }
  }

  void check_length(size_t given, const char* what) const {
    if (given != values.size())
      fail(std::string(op) + ": expected " + std::to_string(values.size()) + " " + what + ", got " +
           std::to_string(given));
  }

  ArrayRef in_order_of(const Array& value, const ArrayRef& grad) const {
    check_same_dtype(value, *grad, op, "parameter and gradient");
    check_same_shape(value, *grad, op, "parameter and gradient");
    if (same_layout(value, *grad)) return grad;
    ArrayRef ordered = new_like_strided(value);
    copy_into(*grad, *ordered);
    return ordered;
  }

  void check_state(const Array& value, const Array& state) const {
    check_same_dtype(value, state, op, "parameter and state");
    if (!same_layout(value, state)) fail(std::string(op) + ": expected states in the memory order of their parameters");
  }

  // launch(first, count, nanoseconds) over groups of one dtype and at most kMaxTensors parameters.
  template <class Launch>
  void in_groups(Launch&& launch) const {
    for (size_t first = 0, end = 0; first < values.size(); first = end) {
      double elements = 0;
      for (; end < values.size() && end < first + kMaxTensors && values[end]->dtype == values[first]->dtype; end++)
        elements += double(values[end]->size);
      launch(first, int(end - first), kStepCost * elements);
    }
  }
};

const double* scalar(const ArrayRef& a, const char* op, const char* name, int64_t size) {
  if (a->dtype != DType::float64 || a->size != size || !a->contiguous)
    fail(std::string(op) + ": expected " + std::to_string(size) + " float64 in C order for " + name + ", got " +
         shape_string(*a) + " of " + dtype_name(a->dtype));
  return a->as<double>();
}

void sgd(const py::list& values, const py::list& grads, const py::list& momenta, const ArrayRef& lr, double momentum,
         double dampening, double weight_decay, bool nesterov, bool maximize, bool first) {
  const Lists lists("sgd", values, grads, {&momenta});
  if (momentum != 0 && lists.states[0].size() != lists.values.size()) fail("sgd: momentum needs a state per parameter");
  Sgd params{};
  params.lr = scalar(lr, "sgd", "lr", 1);
  params.nesterov = nesterov, params.maximize = maximize, params.first = first;
  params.momentum = momentum, params.dampening = dampening, params.weight_decay = weight_decay;
  lists.in_groups([&](size_t start, int count, double cost) {
    params.dtype = lists.values[start]->dtype;
    params.count = count;
    for (int i = 0; i < count; i++) {
      const Array& value = *lists.values[start + i];
      params.parameters[i] = {value.size, value.data, lists.grads[start + i]->data,
                              momentum != 0 ? lists.states[0][start + i]->data : nullptr};
    }
    run(kernels().optimizer.sgd, params, cost);
  });
}

void adam(const py::list& values, const py::list& grads, const py::list& means, const py::list& squares,
          const ArrayRef& lr, const ArrayRef& step, double beta1, double beta2, double eps, double weight_decay,
          bool decoupled, bool maximize) {
  const Lists lists("adam", values, grads, {&means, &squares});
  for (const Arrays& state : lists.states) lists.check_length(state.size(), "states");
  Adam params{};
  params.lr = scalar(lr, "adam", "lr", 1);
  params.step = scalar(step, "adam", "step", 3);
  params.decoupled = decoupled, params.maximize = maximize;
  params.beta1 = beta1, params.beta2 = beta2, params.eps = eps, params.weight_decay = weight_decay;
  mark_written(*step);
  AdamAdvance advance{beta1, beta2, step->as<double>()};
  run(kernels().optimizer.adam_advance, advance, 0);
  lists.in_groups([&](size_t start, int count, double cost) {
    params.dtype = lists.values[start]->dtype;
    params.count = count;
    for (int i = 0; i < count; i++) {
      const Array& value = *lists.values[start + i];
      params.parameters[i] = {value.size, value.data, lists.grads[start + i]->data, lists.states[0][start + i]->data,
                              lists.states[1][start + i]->data};
    }
    run(kernels().optimizer.adam, params, cost);
  });
}

// No launch, which a program would repeat: the number that was written while it recorded.
void write_number(const ArrayRef& a, double value) {
  check_writable(*a, "write_number", "array");
  *const_cast<double*>(scalar(a, "write_number", "array", 1)) = value;
}

}  // namespace

void bind_optimizer(py::module_& m) {
  m.def("write_number", write_number, py::arg("array"), py::arg("value"),
        "Set a float64 array of one element, outside of any recording.");
  m.def("sgd", sgd, py::arg("values"), py::arg("grads"), py::arg("momenta"), py::arg("lr"), py::arg("momentum"),
        py::arg("dampening"), py::arg("weight_decay"), py::arg("nesterov"), py::arg("maximize"), py::arg("first"));
  m.def("adam", adam, py::arg("values"), py::arg("grads"), py::arg("means"), py::arg("squares"), py::arg("lr"),
        py::arg("step"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"),
        py::arg("decoupled"), py::arg("maximize"));
}

}  // namespace pynn
