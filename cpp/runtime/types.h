// The data types of an array, and the status that every kernel returns.
#pragma once
#include <cstddef>
#include <cstdint>

namespace pynn {

enum class DType : uint8_t { float32, float64, int64, int32, uint8, boolean };
constexpr int kDTypeCount = 6;
constexpr int kMaxDims = 8;

constexpr size_t item_size(DType t) {
  constexpr size_t sizes[kDTypeCount] = {4, 8, 8, 4, 1, 1};
  return sizes[static_cast<int>(t)];
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::float64;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::uint8;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};

// What a kernel reports. Shapes and dtypes are checked before a launch; only what depends on the data
// (an index) or on the machine (memory) is found inside one.
enum class [[nodiscard]] Status : int{ok, out_of_memory, index_out_of_range};

}  // namespace pynn
