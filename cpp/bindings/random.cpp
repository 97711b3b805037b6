// Random numbers into arrays. The state is an int64 array of seed, stream and block.
#include "ops/random.h"

#include <pybind11/stl.h>

#include <cmath>
#include <vector>

#include "bindings/families.h"
#include "dispatch.h"

namespace pynn {

int64_t* random_state(const ArrayRef& state, const char* op) {
  if (state->dtype != DType::int64 || state->size != RandomState::size || !state->contiguous)
    fail(std::string(op) + ": expected a state of 3 int64 in C order, got " + shape_string(*state) + " of " +
         dtype_name(state->dtype));
  mark_written(*state);
  return state->as<int64_t>();
}

namespace {

constexpr double kFloatCost = 0.6, kDoubleCost = 20, kIntegerCost = 1, kSwapCost = 2;  // ns an element

// Elements are numbered in C order, so that the memory order of a weight does not change its values.
void fill(const ArrayRef& given, const ArrayRef& state, Distribution distribution, double low, double high,
          double lower = 0, double upper = 0) {
  check_float(*given, "random", "the array");
  check_one_place_each(*given, "random");
  mark_written(*given);
  const ArrayRef y = given->contiguous ? given : new_like(*given);
  RandomFill params{distribution, y->dtype, y->size, low, high, lower, upper, random_state(state, "random"), y->data};
  run(kernels().random.fill, params, (y->dtype == DType::float32 ? kFloatCost : kDoubleCost) * double(y->size));
  if (y.get() != given.get()) copy_into(*y, *given);
}

void uniform(const ArrayRef& y, const ArrayRef& state, double low, double high) {
  const bool narrow = y->dtype == DType::float32;
  if (!(low <= high) || !std::isfinite(high - low) || (narrow && !std::isfinite(float(high) - float(low))))
    fail("uniform: expected low <= high and a finite range, got " + std::to_string(low) + " and " +
         std::to_string(high));
  fill(y, state, Distribution::uniform, low, high);
}

void check_deviation(double mean, double std, const char* op) {
  if (!(std >= 0) || !std::isfinite(std) || !std::isfinite(mean))
    fail(std::string(op) + ": expected a finite mean and std >= 0, got " + std::to_string(mean) + " and " +
         std::to_string(std));
}

void normal(const ArrayRef& y, const ArrayRef& state, double mean, double std) {
  check_deviation(mean, std, "normal");
  fill(y, state, Distribution::normal, mean, std);
}

void truncated_normal(const ArrayRef& y, const ArrayRef& state, double mean, double std, double a, double b) {
  check_deviation(mean, std, "trunc_normal");
  if (!(std > 0) || !(a <= b))
    fail("trunc_normal: expected std > 0 and a <= b, got std " + std::to_string(std) + ", a " + std::to_string(a) +
         ", b " + std::to_string(b));
  fill(y, state, Distribution::truncated_normal, mean, std, a, b);
}

void bernoulli(const ArrayRef& y, const ArrayRef& state, double p) {
  if (!(p >= 0 && p <= 1)) fail("bernoulli: expected a probability in [0, 1], got " + std::to_string(p));
  fill(y, state, Distribution::bernoulli, p, 0);
}

ArrayRef integers(const std::vector<int64_t>& shape, const ArrayRef& state, int64_t low, int64_t high) {
  if (low >= high) fail("randint: expected low < high, got " + std::to_string(low) + " and " + std::to_string(high));
  if (shape.size() > size_t(kMaxDims))
    fail("randint: expected at most 8 dimensions, got " + std::to_string(shape.size()));
  ArrayRef y = new_array(DType::int64, shape.data(), int(shape.size()));
  RandomIntegers params{y->size, low, uint64_t(high) - uint64_t(low), random_state(state, "randint"), y->as<int64_t>()};
  run(kernels().random.integers, params, kIntegerCost * double(y->size));
  return y;
}

ArrayRef permutation(int64_t n, const ArrayRef& state) {
  if (n < 0) fail("randperm: expected n >= 0, got " + std::to_string(n));
  ArrayRef y = new_array(DType::int64, {n});
  RandomPermutation params{n, random_state(state, "randperm"), y->as<int64_t>()};
  run(kernels().random.permutation, params, kSwapCost * double(n));
  return y;
}

}  // namespace

void bind_random(py::module_& m) {
  m.def("random_uniform_", uniform);
  m.def("random_normal_", normal);
  m.def("random_truncated_normal_", truncated_normal);
  m.def("random_bernoulli_", bernoulli);
  m.def("random_integers", integers);
  m.def("random_permutation", permutation);
}

}  // namespace pynn
