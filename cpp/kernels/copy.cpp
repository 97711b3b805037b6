// Strided copy with conversion, and fill.
#include "ops/copy.h"

#include "simd/parallel.h"

namespace pynn::PYNN_ISA {
namespace {

template <class X, class Y>
void copy_dim(const Copy& p, int dim, const X* x, Y* y) {
  for (int64_t i = 0; i < p.shape[dim]; i++) {
    if (dim == p.dims - 1)
      y[i * p.y_strides[dim]] = Y(x[i * p.x_strides[dim]]);
    else
      copy_dim(p, dim + 1, x + i * p.x_strides[dim], y + i * p.y_strides[dim]);
  }
}

template <class X>
void copy_from(const Copy& p) {
  const X* x = static_cast<const X*>(p.x);
  switch (p.y_type) {
    case DType::float32: return copy_dim(p, 0, x, static_cast<float*>(p.y));
    case DType::float64: return copy_dim(p, 0, x, static_cast<double*>(p.y));
    case DType::int64: return copy_dim(p, 0, x, static_cast<int64_t*>(p.y));
    case DType::int32: return copy_dim(p, 0, x, static_cast<int32_t*>(p.y));
    case DType::uint8: return copy_dim(p, 0, x, static_cast<uint8_t*>(p.y));
    case DType::boolean: return copy_dim(p, 0, x, static_cast<bool*>(p.y));
  }
}

Status copy(const Copy& given) {
  Copy p = given;
  if (p.dims == 0) p.dims = 1, p.shape[0] = 1;
  switch (p.x_type) {
    case DType::float32: copy_from<float>(p); break;
    case DType::float64: copy_from<double>(p); break;
    case DType::int64: copy_from<int64_t>(p); break;
    case DType::int32: copy_from<int32_t>(p); break;
    case DType::uint8: copy_from<uint8_t>(p); break;
    case DType::boolean: copy_from<bool>(p); break;
  }
  return Status::ok;
}

Status fill(const Fill& p) {
  const int64_t bytes = int64_t(item_size(p.dtype));
  const char* value = reinterpret_cast<const char*>(&p.value);
  for (int64_t i = 0; i < p.n; i++) __builtin_memcpy(static_cast<char*>(p.y) + i * bytes, value, bytes);
  return Status::ok;
}

}  // namespace

extern const CopyKernels copy_kernels;
const CopyKernels copy_kernels = {copy, fill};

}  // namespace pynn::PYNN_ISA
