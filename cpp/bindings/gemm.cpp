// Matrix products of arrays with any strides: shapes, broadcasting of the batch, leading dimensions.
#include "ops/gemm.h"

#include <cstdlib>

#include "bindings/call.h"
#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {
namespace {

constexpr double kFmaCost = 0.012;  // ns an fma

// The last two axes of an array as a matrix of the kernel, one of whose strides is 1.
struct Matrix {
  ArrayRef array;  // the operand itself, or a copy in C order
  int64_t rows, columns;
  bool transposed;  // the elements of a column are neighbours in memory, not those of a row
  int64_t leading;
};

Matrix matrix_of(const ArrayRef& operand, bool transpose) {
  Matrix m{operand, 0, 0, false, 0};
  for (;; m.array = contiguous(m.array)) {
    const Array& a = *m.array;
    const int row = a.dims - (transpose ? 1 : 2), column = a.dims - (transpose ? 2 : 1);
    m.rows = a.shape[row];
    m.columns = a.shape[column];
    // The stride of an axis of size 1 is never used.
    m.transposed = m.columns != 1 && a.strides[column] != 1;
    m.leading = a.strides[m.transposed ? column : row];
    if (!m.transposed || m.rows == 1 || a.strides[row] == 1 || a.size == 0) return m;
  }
}

void check_operands(const Array& a, const Array& b, const Array* bias, const std::string& op) {
  check_float(a, op.c_str(), "the first operand");
  check_float(b, op.c_str(), "the second operand");
  const Array* other = a.dtype != b.dtype ? &b : bias && bias->dtype != a.dtype ? bias : nullptr;
  if (other) fail_type(op + ": expected one dtype, got " + dtype_name(a.dtype) + " and " + dtype_name(other->dtype));
  if (a.dims < 2 || b.dims < 2)
    fail(op + ": expected at least 2 dimensions, got shapes " + shape_string(a) + " and " + shape_string(b));
}

// The shape of the output: the batch axes broadcast, then rows and columns. Returns the number of axes.
int output_shape(const Array& a, const Array& b, int64_t rows, int64_t columns, const std::string& op, int64_t* shape) {
  const int dims = a.dims > b.dims ? a.dims : b.dims;
  for (int i = 0; i < dims - 2; i++) {
    const int in_a = i - (dims - a.dims), in_b = i - (dims - b.dims);
    const int64_t size_a = in_a < 0 ? 1 : a.shape[in_a], size_b = in_b < 0 ? 1 : b.shape[in_b];
    if (size_a != size_b && size_a != 1 && size_b != 1)
      fail(op + ": batch axes do not broadcast, got shapes " + shape_string(a) + " and " + shape_string(b));
    shape[i] = size_a == 1 ? size_b : size_a;
  }
  shape[dims - 2] = rows;
  shape[dims - 1] = columns;
  return dims;
}

// Whether two indices may reach the same element: axes by rising stride, each must step over all that the ones before
// span.
bool overlaps_itself(const Array& a) {
  if (a.size <= 1) return false;
  int64_t reach = 0;
  bool used[kMaxDims] = {};
  for (int step = 0; step < a.dims; step++) {
    int next = -1;
    for (int i = 0; i < a.dims; i++)
      if (!used[i] && (next < 0 || std::abs(a.strides[i]) < std::abs(a.strides[next]))) next = i;
    used[next] = true;
    if (a.shape[next] == 1) continue;
    if (std::abs(a.strides[next]) <= reach) return true;
    reach += (a.shape[next] - 1) * std::abs(a.strides[next]);
  }
  return false;
}

void check_output(Array& out, const Array& a, const Array& b, const Array* bias, const int64_t* shape, int dims,
                  const std::string& op) {
  if (out.dtype != a.dtype)
    fail_type(op + ": expected " + dtype_name(a.dtype) + " for out, got " + dtype_name(out.dtype));
  bool same = out.dims == dims;
  for (int i = 0; same && i < dims; i++) same = out.shape[i] == shape[i];
  if (!same) fail(op + ": expected shape " + shape_string(shape, dims) + " for out, got " + shape_string(out));
  check_writable(out, op.c_str(), "out");
  if (overlaps_itself(out)) fail(op + ": the elements of out overlap (shape " + shape_string(out) + ")");
  if (may_overlap(out, a) || may_overlap(out, b) || (bias && may_overlap(out, *bias)))
    fail(op + ": out overlaps the memory of an input");
}

// Fills the batch axes of `p`: those that one stride covers become one, and where B is the same for all of the
// innermost its products become more rows of one.
void set_batch(Gemm& p, const Array& a, const Array& b, const Array& c) {
  const auto stride = [&](const Array& x, int axis) {
    const int at = axis - (c.dims - x.dims);
    return at < 0 || x.shape[at] == 1 ? 0 : x.strides[at];
  };
  p.batch_dims = 0;
  for (int axis = 0; axis < c.dims - 2; axis++) {
    if (c.shape[axis] == 1) continue;
    const int64_t size = c.shape[axis], sa = stride(a, axis), sb = stride(b, axis), sc = stride(c, axis);
    int d = p.batch_dims - 1;
    if (d >= 0 && p.batch_a[d] == sa * size && p.batch_b[d] == sb * size && p.batch_c[d] == sc * size)
      p.batch[d] *= size;
    else
      p.batch[d = p.batch_dims++] = size;
    p.batch_a[d] = sa;
    p.batch_b[d] = sb;
    p.batch_c[d] = sc;
  }
  if (!p.batch_dims || p.transpose_a) return;
  const int d = p.batch_dims - 1;
  if (p.m == 1) {  // the leading dimensions of a single row are free
    p.lda = p.batch_a[d];
    p.ldc = p.batch_c[d];
  }
  if (p.batch_b[d] == 0 && p.batch_a[d] == p.m * p.lda && p.batch_c[d] == p.m * p.ldc) {
    p.m *= p.batch[d];
    p.batch_dims--;
  }
}

}  // namespace

ArrayRef gemm(const ArrayRef& a, const ArrayRef& b, const OptionalArray& bias, const std::string& activation,
              const OptionalArray& out, bool accumulate, bool transpose_a, bool transpose_b, const std::string& op) {
  check_operands(*a, *b, bias.get(), op);
  const Activation kind = epilogue_kind(activation, op);
  const Matrix x = matrix_of(a, transpose_a), y = matrix_of(b, transpose_b);
  if (x.columns != y.rows)
    fail(op + ": expected equal inner sizes, got " + std::to_string(x.columns) + " and " + std::to_string(y.rows) +
         " (shapes " + shape_string(*a) + " and " + shape_string(*b) + ")");
  if (bias && (bias->dims != 1 || bias->shape[0] != y.columns))
    fail(op + ": expected a bias of shape (" + std::to_string(y.columns) + ",), got " + shape_string(*bias));
  if (accumulate && !out) fail(op + ": accumulate needs out");
  int64_t shape[kMaxDims];
  const int dims = output_shape(*a, *b, x.rows, y.columns, op, shape);

  ArrayRef c;
  if (out) {
    check_output(*out, *a, *b, bias.get(), shape, dims, op);
    mark_written(*out);
    c = out;
  }
  // The kernel writes rows of neighbours; any other `out` is computed beside and copied.
  const bool beside = c && c->strides[dims - 1] != 1 && c->shape[dims - 1] != 1;
  if (!c || beside) c = new_array(a->dtype, shape, dims);
  if (c->size == 0) return c;
  if (beside && accumulate) copy_into(*out, *c);

  const ArrayRef dense_bias = bias ? contiguous(bias) : ArrayRef();
  Gemm p;
  p.dtype = a->dtype;
  p.activation = kind;
  p.accumulate = accumulate;
  p.m = x.rows;
  p.n = y.columns;
  p.k = x.columns;
  p.transpose_a = x.transposed;
  p.transpose_b = y.transposed;
  p.lda = x.leading;
  p.ldb = y.leading;
  p.ldc = c->strides[dims - 2];
  p.a = x.array->data;
  p.b = y.array->data;
  p.bias = dense_bias ? dense_bias->data : nullptr;
  p.c = c->data;
  set_batch(p, *x.array, *y.array, *c);
  run(kernels().gemm.gemm, p, kFmaCost * double(c->size) * double(p.k));
  if (!beside) return c;
  copy_into(*c, *out);
  return out;
}

namespace {

ArrayRef product(const ArrayRef& a, const ArrayRef& b, bool transpose_a, bool transpose_b) {
  return gemm(a, b, {}, "none", {}, false, transpose_a, transpose_b, "matmul");
}

ArrayRef epilogue_product(const ArrayRef& a, const ArrayRef& b, const OptionalArray& bias,
                          const std::string& activation, const OptionalArray& out, bool accumulate) {
  return gemm(a, b, bias, activation, out, accumulate, false, false, "gemm");
}

}  // namespace

void bind_gemm(py::module_& m) {
  define<product>(m, "matmul",
                  "(a: pynn._core.Array, b: pynn._core.Array, transpose_a: bool, transpose_b: bool) -> "
                  "pynn._core.Array\n\na b over the last two axes, the axes before them broadcast.");
  define<epilogue_product>(
      m, "gemm",
      "(a: pynn._core.Array, b: pynn._core.Array, bias: pynn._core.Array | None, activation: str, "
      "out: pynn._core.Array | None, accumulate: bool) -> pynn._core.Array\n\nactivation(a b + bias), added to out "
      "first with `accumulate`.");
}

}  // namespace pynn
