// Binary and unary arithmetic, comparisons, and their in-place forms: type promotion, broadcasting, and the merging of
// axes that leaves the kernels few and long loops.
#include "ops/elementwise.h"

#include <algorithm>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {

// An operand of a bound function: an array, a tensor or whatever can become one, or a Python number.
struct Operand {
  ArrayRef array;
  py::handle number;
};

}  // namespace pynn

namespace pybind11::detail {

template <>
struct type_caster<pynn::Operand> {
  PYBIND11_TYPE_CASTER(pynn::Operand, const_name("Array | float"));
  bool load(handle source, bool) {
    value.array = pynn::own_array(source);
    if (value.array) return true;
    if (PyFloat_Check(source.ptr()) || PyLong_Check(source.ptr()))
      value.number = source;
    else
      value.array = pynn::as_array(source);
    return true;
  }
};

}  // namespace pybind11::detail

namespace pynn {
namespace {

// PyTorch's rule: an operand with dimensions decides, then one without, then a number, unless the weaker one is of a
// higher kind (boolean, integer, float). Within a kind the wider type wins.
enum class Kind { boolean, integer, floating };
Kind kind_of(DType t) { return is_float(t) ? Kind::floating : t == DType::boolean ? Kind::boolean : Kind::integer; }

DType wider(DType a, DType b) {
  constexpr int rank[kDTypeCount] = {4, 5, 3, 2, 1, 0};
  return rank[int(a)] > rank[int(b)] ? a : b;
}

int strength(const Operand& x) { return !x.array ? 0 : x.array->dims == 0 ? 1 : 2; }

DType own_type(const Operand& x) {
  if (x.array) return x.array->dtype;
  if (PyBool_Check(x.number.ptr())) return DType::boolean;
  return PyFloat_Check(x.number.ptr()) ? DType::float32 : DType::int64;
}

DType result_type(const Operand& a, const Operand& b) {
  const DType s = own_type(a), t = own_type(b);
  if (s == t) return s;
  const int difference = strength(a) - strength(b);
  if (difference == 0) return wider(s, t);
  const DType strong = difference > 0 ? s : t, weak = difference > 0 ? t : s;
  return kind_of(strong) >= kind_of(weak) ? strong : wider(strong, weak);
}

// The bytes of a Python number as an element of `dtype`.
uint64_t number_bytes(py::handle number, DType dtype, const char* op) {
  if (is_float(dtype)) {
    const double value = PyFloat_AsDouble(number.ptr());
    if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
    return dtype == DType::float32 ? as_bytes(float(value)) : as_bytes(value);
  }
  if (!PyLong_Check(number.ptr()))
    fail_type(std::string(op) + ": expected an integer for " + dtype_name(dtype) + ", got " +
              std::string(py::str(number)));
  int overflow;
  const int64_t value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  // A negative number wraps in uint8, as in PyTorch.
  const int64_t limit = dtype == DType::int64   ? INT64_MAX
                        : dtype == DType::int32 ? INT32_MAX
                        : dtype == DType::uint8 ? UINT8_MAX
                                                : 1;
  if (overflow || value > limit || value < -limit - 1)
    fail(std::string(op) + ": " + std::string(py::str(number)) + " does not fit into " + dtype_name(dtype));
  switch (dtype) {
    case DType::int64: return as_bytes(value);
    case DType::int32: return as_bytes(int32_t(value));
    case DType::uint8: return as_bytes(uint8_t(value));
    default: return as_bytes(value != 0);
  }
}

struct Shape {
  int dims = 0;
  int64_t size[kMaxDims];
};

Shape broadcast_shape(const Array& a, const Array& b, const char* op) {
  Shape shape;
  shape.dims = std::max(a.dims, b.dims);
  for (int i = 0; i < shape.dims; i++) {
    const int in_a = i - (shape.dims - a.dims), in_b = i - (shape.dims - b.dims);
    const int64_t s = in_a < 0 ? 1 : a.shape[in_a], t = in_b < 0 ? 1 : b.shape[in_b];
    if (s != t && s != 1 && t != 1)
      fail(std::string(op) + ": shapes " + shape_string(a) + " and " + shape_string(b) + " do not broadcast");
    shape.size[i] = s == 1 ? t : s;
  }
  return shape;
}

bool has_shape(const Array& a, const Shape& shape) {
  return a.dims == shape.dims && std::equal(a.shape, a.shape + a.dims, shape.size);
}

// Dense operands of the full shape that agree give the output their order of axes, expanded ones have no say; otherwise
// it is in C order.
ArrayRef new_output(DType dtype, const Array* a, const Array* b, const char* op) {
  const Array& first = a ? *a : *b;
  if (first.contiguous && (!a || !b || same_layout(*a, *b))) return new_array(dtype, first.shape, first.dims);
  const Shape shape = broadcast_shape(first, b ? *b : *a, op);
  const Array* model = nullptr;
  for (const Array* x : {a, b}) {
    if (!x || !has_shape(*x, shape) || is_expanded(*x)) continue;
    if (!is_dense(*x) || (model && !same_layout(*x, *model))) return new_array(dtype, shape.size, shape.dims);
    model = x;
  }
  ArrayRef y = new_array(dtype, shape.size, shape.dims);
  if (!model || model->contiguous) return y;
  std::copy(model->strides, model->strides + model->dims, y->strides);
  for (int i = 0; i < y->dims; i++)  // axes of size 1 may have any stride
    if (y->shape[i] == 1) y->strides[i] = 1;
  update_contiguous(*y);
  return y;
}

int64_t stride_of(const Array* x, int axis, int dims) {
  if (!x) return 0;
  const int own = axis - (dims - x->dims);
  return own < 0 || x->shape[own] == 1 ? 0 : x->strides[own];
}

// Fills the index space of y = f(a, b): axes ordered by their stride in y, neighbours merged where all three allow it.
void set_index_space(IndexSpace& s, const Array* a, const Array* b, const Array& y) {
  s.dims = 1;
  auto linear = [&](const Array* x) { return !x || x->dims == 0 || same_layout(*x, y); };
  if (linear(a) && linear(b) && is_dense(y)) {
    s.shape[0] = y.size;
    s.y_strides[0] = 1;
    s.a_strides[0] = a && a->dims ? 1 : 0;
    s.b_strides[0] = b && b->dims ? 1 : 0;
    return;
  }
  int order[kMaxDims], axes = 0;
  for (int i = 0; i < y.dims; i++) {
    if (y.shape[i] == 1) continue;
    int at = axes++;  // insertion by falling stride; equal strides keep their order
    for (; at > 0 && std::abs(y.strides[order[at - 1]]) < std::abs(y.strides[i]); at--) order[at] = order[at - 1];
    order[at] = i;
  }
  s.dims = 0;
  for (int k = 0; k < axes; k++) {
    const int axis = order[k], last = s.dims - 1;
    const int64_t n = y.shape[axis];
    const int64_t sa = stride_of(a, axis, y.dims), sb = stride_of(b, axis, y.dims), sy = y.strides[axis];
    if (last >= 0 && s.a_strides[last] == sa * n && s.b_strides[last] == sb * n && s.y_strides[last] == sy * n) {
      s.shape[last] *= n;
    } else {
      s.shape[s.dims++] = n;
    }
    s.a_strides[s.dims - 1] = sa;
    s.b_strides[s.dims - 1] = sb;
    s.y_strides[s.dims - 1] = sy;
  }
  if (s.dims == 0) {  // one element
    s.dims = 1;
    s.shape[0] = 1;
    s.a_strides[0] = s.b_strides[0] = 0;
    s.y_strides[0] = 1;
  }
}

// Casts what is an array to `dtype`; the numbers' bytes come from number_bytes.
ArrayRef cast_array(const Operand& x, DType dtype) { return x.array ? cast(x.array, dtype) : ArrayRef(); }

template <class Params>
void launch_into(Kernel<Params> kernel, Params& params, const Array* a, const Array* b, Array& y) {
  if (y.size == 0) return;
  set_index_space(params.space, a, b, y);
  params.a = a ? a->data : nullptr;
  params.b = b ? b->data : nullptr;
  params.y = y.data;
  run(kernel, params, elementwise_cost(params.op) * double(y.size));
}

// Two operands of one dtype, of which at least one is an array; y is given for an in-place op.
template <class Params>
ArrayRef launch_binary(Kernel<Params> kernel, Params& params, const Operand& a, const Operand& b, DType y_type,
                       const char* op, ArrayRef y = ArrayRef()) {
  const ArrayRef x = cast_array(a, params.dtype), z = cast_array(b, params.dtype);
  if (!x || !z) params.scalar = number_bytes(x ? b.number : a.number, params.dtype, op);
  if (!y) y = new_output(y_type, x.get(), z.get(), op);
  launch_into(kernel, params, x.get(), z.get(), *y);
  return y;
}

// Of two numbers the first becomes an array.
bool are_numbers(const Operand& a, const Operand& b) { return !a.array && !b.array; }
Operand as_operand(py::handle number) { return {as_array(number), {}}; }

ArrayRef compare(Comparison kind, const Operand& a, const Operand& b, const char* op, ArrayRef y = ArrayRef()) {
  if (are_numbers(a, b)) return compare(kind, as_operand(a.number), b, op, y);
  ElementwiseComparison params;
  params.scalar = 0;
  params.op = kind;
  params.dtype = result_type(a, b);
  const bool extremum = kind == Comparison::maximum || kind == Comparison::minimum;
  return launch_binary(kernels().elementwise.comparison, params, a, b, extremum ? params.dtype : DType::boolean, op, y);
}

struct BinaryOp {
  const char* name;
  Arithmetic plain, scaled;
};
constexpr BinaryOp kAdd = {"add", Arithmetic::add, Arithmetic::add_scaled};
constexpr BinaryOp kSub = {"sub", Arithmetic::sub, Arithmetic::add_scaled};
constexpr BinaryOp kMul = {"mul", Arithmetic::mul, Arithmetic::mul_scaled};
constexpr BinaryOp kDiv = {"div", Arithmetic::div, Arithmetic::div_scaled};
constexpr BinaryOp kPow = {"pow", Arithmetic::power, Arithmetic::power};

bool is_one(py::handle number) {
  if (PyLong_CheckExact(number.ptr())) {
    int overflow;
    return PyLong_AsLongAndOverflow(number.ptr(), &overflow) == 1;
  }
  return PyFloat_Check(number.ptr()) && PyFloat_AS_DOUBLE(number.ptr()) == 1.0;
}

ArrayRef arithmetic(const BinaryOp& op, const Operand& a, const Operand& b, const py::object& alpha, DType dtype,
                    ArrayRef y = ArrayRef()) {
  const bool scaled = !is_one(alpha);
  if (dtype == DType::boolean) {  // or, and
    if (scaled || op.plain == Arithmetic::sub) fail_type(std::string(op.name) + ": not defined for bool");
    return compare(op.plain == Arithmetic::add ? Comparison::maximum : Comparison::minimum, a, b, op.name, y);
  }
  if (!is_float(dtype) && op.plain == Arithmetic::power) fail_type("pow: expected float32 or float64");
  ElementwiseArithmetic params;
  params.scalar = params.alpha = 0;
  params.op = scaled ? op.scaled : op.plain;
  params.dtype = dtype;
  if (scaled) {
    params.alpha = number_bytes(op.plain == Arithmetic::sub ? -alpha : alpha, dtype, op.name);
  }
  return launch_binary(kernels().elementwise.arithmetic, params, a, b, dtype, op.name, y);
}

ArrayRef binary(const BinaryOp& op, const Operand& a, const Operand& b, const py::object& alpha) {
  if (are_numbers(a, b)) return binary(op, as_operand(a.number), b, alpha);
  DType dtype = result_type(a, b);
  if (op.plain == Arithmetic::div && !is_float(dtype)) dtype = DType::float32;
  return arithmetic(op, a, b, alpha, dtype);
}

// y = y op b. b has y's dtype and shape, or is a number; it may share y's memory.
void in_place(const BinaryOp& op, const ArrayRef& y, Operand b, const py::object& alpha) {
  check_writable(*y, op.name, "input");
  check_one_place_each(*y, op.name);
  if (op.plain == Arithmetic::div) check_float(*y, op.name, "input");
  if (y->dtype == DType::boolean && !b.array && !PyBool_Check(b.number.ptr()))
    fail_type(std::string(op.name) + ": expected True or False for a bool array in place, got " +
              std::string(py::str(b.number)));
  if (b.array) {
    check_same_dtype(*y, *b.array, op.name, "input and other");
    check_same_shape(*y, *b.array, op.name, "input and other");
    if (y->size == 0) return;
    const bool same = y->data == b.array->data && same_layout(*y, *b.array);
    if (!same && may_overlap(*y, *b.array)) {
      ArrayRef copy = new_like(*b.array);
      copy_into(*b.array, *copy);
      b.array = copy;
    }
  }
  arithmetic(op, Operand{y, {}}, b, alpha, y->dtype, y);
  mark_written(*y);  // last: a refused operation has written nothing
}

ArrayRef unary(Arithmetic op, const ArrayRef& given, const char* name) {
  const bool needs_float = op >= Arithmetic::sqrt;
  if (!needs_float && given->dtype == DType::boolean) fail_type(std::string(name) + ": not defined for bool");
  const ArrayRef x = needs_float && !is_float(given->dtype) ? cast(given, DType::float32) : given;
  ElementwiseArithmetic params;
  params.scalar = params.alpha = 0;
  params.op = op;
  params.dtype = x->dtype;
  ArrayRef y = is_dense(*x) ? new_like_strided(*x) : new_like(*x);
  launch_into(kernels().elementwise.arithmetic, params, x.get(), nullptr, *y);
  return y;
}

}  // namespace

ArrayRef add(const ArrayRef& a, const ArrayRef& b) { return binary(kAdd, Operand{a, {}}, Operand{b, {}}, py::int_(1)); }
void add_in_place(const ArrayRef& y, const ArrayRef& x) { in_place(kAdd, y, Operand{x, {}}, py::int_(1)); }

void bind_elementwise(py::module_& m) {
  const py::int_ one(1);
  const auto bind_binary = [&](const BinaryOp& op) {
    const auto function = [&op](const Operand& a, const Operand& b, const py::object& alpha) {
      return binary(op, a, b, alpha);
    };
    m.def(op.name, function, py::arg("input"), py::arg("other"), py::arg("alpha") = one);
  };
  const auto bind_in_place = [&](const BinaryOp& op) {
    const auto function = [&op](const ArrayRef& y, const Operand& b, const py::object& alpha) {
      in_place(op, y, b, alpha);
    };
    m.def((std::string(op.name) + "_").c_str(), function, py::arg("input"), py::arg("other"), py::arg("alpha") = one);
  };
  for (const BinaryOp* op : {&kAdd, &kSub, &kMul, &kDiv}) {
    bind_binary(*op);
    bind_in_place(*op);
  }
  m.def("pow", [one](const Operand& a, const Operand& b) { return binary(kPow, a, b, one); });

  const auto bind_comparison = [&](const char* name, Comparison kind, bool swapped = false) {
    m.def(name, [=](const Operand& a, const Operand& b) {
      return swapped ? compare(kind, b, a, name) : compare(kind, a, b, name);
    });
  };
  bind_comparison("eq", Comparison::eq);
  bind_comparison("ne", Comparison::ne);
  bind_comparison("lt", Comparison::lt);
  bind_comparison("le", Comparison::le);
  bind_comparison("gt", Comparison::lt, true);
  bind_comparison("ge", Comparison::le, true);
  bind_comparison("maximum", Comparison::maximum);
  bind_comparison("minimum", Comparison::minimum);

  const auto bind_unary = [&](const char* name, Arithmetic op) {
    m.def(name, [=](const ArrayRef& x) { return unary(op, x, name); });
  };
  bind_unary("neg", Arithmetic::neg);
  bind_unary("abs", Arithmetic::abs);
  bind_unary("sign", Arithmetic::sign);
  bind_unary("sqrt", Arithmetic::sqrt);
  bind_unary("exp", Arithmetic::exp);
  bind_unary("log", Arithmetic::log);
}

}  // namespace pynn
