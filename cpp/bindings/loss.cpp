// The losses: cross_entropy, nll_loss, and those that are a sum over elements.
#include <pybind11/stl.h>

#include <vector>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kRowCost = 15, kClassCost = 0.5, kElementCost = 0.8;  // ns

Reduction reduction_from(const std::string& name, const char* op) {
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  if (name == "none") return Reduction::none;
  fail(std::string(op) + ": expected 'mean', 'sum' or 'none' as reduction, got '" + name + "'");
}

// ---- losses over classes: input (C,), (N, C) or (N, C, d...), worked on as rows of classes ----

struct Rows {
  ArrayRef x;  // the class axis last, C order
  int class_axis, last;
  int64_t count, classes;
};

int class_axis_of(int dims) { return dims == 1 ? 0 : 1; }

// Of an array whose class axis is last already.
Rows class_last_rows(const ArrayRef& x) {
  const int last = x->dims - 1;
  int64_t count = 1;
  for (int i = 0; i < last; i++) count *= x->shape[i];
  return {x, class_axis_of(x->dims), last, count, x->shape[last]};
}

Rows rows_of(const ArrayRef& input, const char* op) {
  check_float(*input, op, "input");
  if (!input->dims) fail(std::string(op) + ": expected input of shape (C,), (N, C) or (N, C, ...), got ()");
  return class_last_rows(contiguous(move_axis(input, class_axis_of(input->dims), input->dims - 1)));
}

// The shape of the rows: all axes but the last.
ArrayRef new_by_row(const Rows& r) { return new_array(r.x->dtype, r.x->shape, r.last); }

struct CheckedTarget {
  ArrayRef values, weight;  // keep the memory
  ClassTarget params;
};

CheckedTarget checked_target(const Rows& r, const ArrayRef& target, const OptionalArray& weight, int64_t ignore_index,
                             const char* op) {
  CheckedTarget t;
  const Array& x = *r.x;
  if (is_float(target->dtype)) {
    check_same_dtype(x, *target, op, "input and target probabilities");
    const ArrayRef moved = target->dims == x.dims ? move_axis(target, r.class_axis, r.last) : target;
    check_same_shape(x, *moved, op, "input and target probabilities, class axis last");
    t.values = contiguous(moved);
  } else {
    if (target->dtype == DType::boolean)
      fail_type(std::string(op) + ": expected class indices (int64, int32, uint8) or probabilities, got bool");
    bool same = target->dims == r.last;
    for (int i = 0; same && i < r.last; i++) same = target->shape[i] == x.shape[i];
    if (!same)
      fail(std::string(op) + ": expected class indices of shape " + shape_string(x.shape, r.last) + ", got " +
           shape_string(*target));
    t.values = contiguous(target);
  }
  if (weight) {
    check_same_dtype(x, *weight, op, "input and weight");
    if (weight->dims != 1 || weight->shape[0] != r.classes)
      fail(std::string(op) + ": expected weight of shape (" + std::to_string(r.classes) + ",), got " +
           shape_string(*weight));
    t.weight = contiguous(weight);
  }
  t.params = {target->dtype, t.values->data, ignore_index, weight ? t.weight->data : nullptr};
  return t;
}

void check_indices_only(const Array& target, const char* op) {
  if (is_float(target.dtype))
    fail_type(std::string(op) + ": expected class indices (int64, int32, uint8) as target, got " +
              dtype_name(target.dtype));
}

int64_t label_at(const Array& labels, int64_t i) {
  switch (labels.dtype) {
    case DType::int64: return labels.as<int64_t>()[i];
    case DType::int32: return labels.as<int32_t>()[i];
    default: return labels.as<uint8_t>()[i];
  }
}

// Launches; an index outside the classes becomes an IndexError that names it.
template <class P>
void run_checked(Kernel<P> kernel, P& params, const CheckedTarget& target, double cost_ns) {
  try {
    run(kernel, params, cost_ns);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_IndexError)) throw;
    const Array& labels = *target.values;
    int64_t i = 0;
    while (i + 1 < labels.size && (label_at(labels, i) == params.target.ignore_index ||
                                   uint64_t(label_at(labels, i)) < uint64_t(params.classes)))
      i++;
    PyErr_Format(PyExc_IndexError, "%s: expected class indices in [0, %lld) or ignore_index (%lld), got %lld", P::name,
                 static_cast<long long>(params.classes), static_cast<long long>(params.target.ignore_index),
                 static_cast<long long>(label_at(labels, i)));
    throw py::error_already_set();
  }
}

double cost_of(const Rows& r) { return double(r.count) * (kRowCost + kClassCost * double(r.classes)); }

// (loss, probabilities or None, divisor or None); the last two are for the backward pass
py::tuple cross_entropy(const ArrayRef& input, const ArrayRef& target, const OptionalArray& weight,
                        int64_t ignore_index, const std::string& reduction_name, double label_smoothing, bool save) {
  constexpr const char* op = CrossEntropyForward::name;
  const Reduction reduction = reduction_from(reduction_name, op);
  if (!(label_smoothing >= 0 && label_smoothing <= 1))
    fail("cross_entropy: expected label_smoothing between 0 and 1, got " + std::to_string(label_smoothing));
  const Rows r = rows_of(input, op);
  const CheckedTarget t = checked_target(r, target, weight, ignore_index, op);
  const ArrayRef probabilities = save ? new_like(*r.x) : ArrayRef();
  const ArrayRef divisor = reduction == Reduction::mean ? new_array(r.x->dtype, {}) : ArrayRef();
  const ArrayRef loss = reduction == Reduction::none ? new_by_row(r) : new_array(r.x->dtype, {});
  CrossEntropyForward params{r.x->dtype,
                             reduction,
                             r.count,
                             r.classes,
                             label_smoothing,
                             t.params,
                             r.x->data,
                             save ? probabilities->data : nullptr,
                             divisor ? divisor->data : nullptr,
                             loss->data};
  run_checked(kernels().loss.cross_entropy, params, t, cost_of(r));
  return py::make_tuple(loss, probabilities, divisor);
}

const void* checked_divisor(const OptionalArray& divisor, Reduction reduction, DType dtype, const char* op) {
  if (reduction != Reduction::mean) return nullptr;
  if (!divisor || divisor->size != 1 || divisor->dtype != dtype)
    fail(std::string(op) + ": expected the divisor of the mean from the forward pass");
  return divisor->data;
}

ArrayRef checked_grad(const ArrayRef& grad, Reduction reduction, const int64_t* shape, int dims, DType dtype,
                      const char* op) {
  if (grad->dtype != dtype)
    fail_type(std::string(op) + ": expected a gradient of " + dtype_name(dtype) + ", got " + dtype_name(grad->dtype));
  if (reduction != Reduction::none) dims = 0;
  bool same = grad->dims == dims;
  for (int i = 0; same && i < dims; i++) same = grad->shape[i] == shape[i];
  if (!same)
    fail(std::string(op) + ": expected a gradient of shape " + shape_string(shape, dims) + ", got " +
         shape_string(*grad));
  return contiguous(grad);
}

// `probabilities` and `divisor` are what cross_entropy gave.
ArrayRef cross_entropy_backward(const ArrayRef& grad, const ArrayRef& probabilities, const OptionalArray& divisor,
                                const ArrayRef& target, const OptionalArray& weight, int64_t ignore_index,
                                const std::string& reduction_name, double label_smoothing) {
  constexpr const char* op = CrossEntropyBackward::name;
  const Reduction reduction = reduction_from(reduction_name, op);
  const ArrayRef& y = probabilities;
  if (!is_float(y->dtype) || !y->dims || !y->contiguous)
    fail("cross_entropy_backward: expected the probabilities from the forward pass");
  const Rows r = class_last_rows(y);
  const CheckedTarget t = checked_target(r, target, weight, ignore_index, op);
  const ArrayRef g = checked_grad(grad, reduction, y->shape, r.last, y->dtype, op);
  ArrayRef dx = new_like(*y);
  CrossEntropyBackward params{y->dtype,  reduction,       r.count,
                              r.classes, label_smoothing, t.params,
                              g->data,   y->data,         checked_divisor(divisor, reduction, y->dtype, op),
                              dx->data};
  run_checked(kernels().loss.cross_entropy_backward, params, t, cost_of(r));
  return move_axis(dx, r.last, r.class_axis);
}

// (loss, divisor or None)
py::tuple nll_loss(const ArrayRef& input, const ArrayRef& target, const OptionalArray& weight, int64_t ignore_index,
                   const std::string& reduction_name) {
  constexpr const char* op = NllForward::name;
  const Reduction reduction = reduction_from(reduction_name, op);
  const Rows r = rows_of(input, op);
  check_indices_only(*target, op);
  const CheckedTarget t = checked_target(r, target, weight, ignore_index, op);
  const ArrayRef divisor = reduction == Reduction::mean ? new_array(r.x->dtype, {}) : ArrayRef();
  const ArrayRef loss = reduction == Reduction::none ? new_by_row(r) : new_array(r.x->dtype, {});
  NllForward params{r.x->dtype, reduction, r.count, r.classes, t.params, r.x->data, divisor ? divisor->data : nullptr,
                    loss->data};
  run_checked(kernels().loss.nll, params, t, kRowCost * double(r.count));
  return py::make_tuple(loss, divisor);
}

ArrayRef nll_loss_backward(const ArrayRef& grad, const std::vector<int64_t>& input_shape, const OptionalArray& divisor,
                           const ArrayRef& target, const OptionalArray& weight, int64_t ignore_index,
                           const std::string& reduction_name) {
  constexpr const char* op = NllBackward::name;
  const Reduction reduction = reduction_from(reduction_name, op);
  check_float(*grad, op, "grad");
  check_indices_only(*target, op);
  const int dims = int(input_shape.size());
  if (dims < 1 || dims > kMaxDims) fail("nll_loss_backward: expected an input of 1 to 8 dimensions");
  int64_t shape[kMaxDims];  // class axis last
  for (int i = 0, next = 0; i < dims; i++)
    if (i != class_axis_of(dims)) shape[next++] = input_shape[i];
  shape[dims - 1] = input_shape[class_axis_of(dims)];
  const Rows r = class_last_rows(new_array(grad->dtype, shape, dims));
  const CheckedTarget t = checked_target(r, target, weight, ignore_index, op);
  const ArrayRef g = checked_grad(grad, reduction, r.x->shape, r.last, grad->dtype, op);
  NllBackward params{grad->dtype,
                     reduction,
                     r.count,
                     r.classes,
                     t.params,
                     g->data,
                     checked_divisor(divisor, reduction, grad->dtype, op),
                     r.x->data};
  run_checked(kernels().loss.nll_backward, params, t, cost_of(r));
  return move_axis(r.x, r.last, r.class_axis);
}

// ---- losses that are a sum over elements ----

struct ElementKind {
  const char* name;
  ElementLoss kind;
};
constexpr ElementKind kElementKinds[] = {{"mse_loss", ElementLoss::squared},
                                         {"l1_loss", ElementLoss::absolute},
                                         {"half_sse_loss", ElementLoss::half_squared},
                                         {"binary_cross_entropy", ElementLoss::binary},
                                         {"binary_cross_entropy_with_logits", ElementLoss::binary_with_logits}};

ElementKind element_kind(const std::string& name) {
  for (const ElementKind& kind : kElementKinds)
    if (name == kind.name) return kind;
  fail("element_loss: unknown loss '" + name + "'");
}

// What the sum is divided by: the elements, or the samples for half_sse_loss.
double divisor_of(const Array& x, ElementLoss kind, Reduction reduction) {
  if (reduction != Reduction::mean) return 1;
  if (kind == ElementLoss::half_squared) return x.dims ? double(x.shape[0]) : 1;
  return double(x.size);
}

struct Operands {
  ArrayRef x, target, weight, pos_weight;
};

// An optional weight in the shape of x.
ArrayRef weight_like(const Array& x, const OptionalArray& weight, const char* op, const char* argument) {
  if (!weight) return ArrayRef();
  check_same_dtype(x, *weight, op, argument);
  const int extra = x.dims - weight->dims;
  bool fits = extra >= 0;
  for (int i = 0; fits && i < weight->dims; i++) fits = weight->shape[i] == 1 || weight->shape[i] == x.shape[extra + i];
  if (!fits)
    fail(std::string(op) + ": expected a shape that broadcasts to " + shape_string(x) + " for " + argument + ", got " +
         shape_string(*weight));
  if (!extra && weight->contiguous && weight->size == x.size) return weight;
  ArrayRef full = new_like(x);
  copy_into(*weight, *full);
  return full;
}

Operands checked_operands(const ArrayRef& input, const ArrayRef& target, const OptionalArray& weight,
                          const OptionalArray& pos_weight, const ElementKind& kind) {
  check_float(*input, kind.name, "input");
  check_same_dtype(*input, *target, kind.name, "input and target");
  check_same_shape(*input, *target, kind.name, "input and target");
  const bool binary = kind.kind == ElementLoss::binary || kind.kind == ElementLoss::binary_with_logits;
  if ((weight && !binary) || (pos_weight && kind.kind != ElementLoss::binary_with_logits))
    fail(std::string(kind.name) + ": takes no such weight");
  const ArrayRef x = contiguous(input);
  return {x, contiguous(target), weight_like(*x, weight, kind.name, "weight"),
          weight_like(*x, pos_weight, kind.name, "pos_weight")};
}

const void* data_or_null(const ArrayRef& a) { return a ? a->data : nullptr; }

ArrayRef element_loss(const std::string& name, const ArrayRef& input, const ArrayRef& target,
                      const OptionalArray& weight, const OptionalArray& pos_weight, const std::string& reduction_name) {
  const ElementKind kind = element_kind(name);
  const Reduction reduction = reduction_from(reduction_name, kind.name);
  const Operands o = checked_operands(input, target, weight, pos_weight, kind);
  const bool reduce = reduction != Reduction::none;
  ArrayRef loss = reduce ? new_array(o.x->dtype, {}) : new_like(*o.x);
  ElementLossForward params{kind.kind,
                            o.x->dtype,
                            reduce,
                            o.x->size,
                            divisor_of(*o.x, kind.kind, reduction),
                            o.x->data,
                            o.target->data,
                            data_or_null(o.weight),
                            data_or_null(o.pos_weight),
                            loss->data};
  run(kernels().loss.element, params, kElementCost * double(o.x->size));
  return loss;
}

ArrayRef element_loss_backward(const std::string& name, const ArrayRef& grad, const ArrayRef& input,
                               const ArrayRef& target, const OptionalArray& weight, const OptionalArray& pos_weight,
                               const std::string& reduction_name) {
  const ElementKind kind = element_kind(name);
  const Reduction reduction = reduction_from(reduction_name, kind.name);
  const Operands o = checked_operands(input, target, weight, pos_weight, kind);
  const ArrayRef g = checked_grad(grad, reduction, o.x->shape, o.x->dims, o.x->dtype, kind.name);
  ArrayRef dx = new_like(*o.x);
  ElementLossBackward params{kind.kind,
                             o.x->dtype,
                             reduction != Reduction::none,
                             o.x->size,
                             divisor_of(*o.x, kind.kind, reduction),
                             g->data,
                             o.x->data,
                             o.target->data,
                             data_or_null(o.weight),
                             data_or_null(o.pos_weight),
                             dx->data};
  run(kernels().loss.element_backward, params, kElementCost * double(o.x->size));
  return dx;
}

}  // namespace

void bind_loss(py::module_& m) {
  m.def("cross_entropy", cross_entropy);
  m.def("cross_entropy_backward", cross_entropy_backward);
  m.def("nll_loss", nll_loss);
  m.def("nll_loss_backward", nll_loss_backward);
  m.def("element_loss", element_loss);
  m.def("element_loss_backward", element_loss_backward);
}

}  // namespace pynn
