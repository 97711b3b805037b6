// DLPack: memory to and from other array libraries without a copy.
//
// The structures are those of the DLPack 1.x specification (https://dmlc.github.io/dlpack); a consumer that does not
// ask for version 1 gets the older, unversioned one.
#include <cstring>

#include "bindings/families.h"

namespace pynn {
namespace {

enum DeviceType : int32_t { kCpu = 1, kCudaHost = 3 };
enum TypeCode : uint8_t { kInt = 0, kUnsigned = 1, kFloat = 2, kBool = 6 };
constexpr uint64_t kReadOnly = 1, kCopied = 2;
constexpr uint32_t kMajorVersion = 1;

struct Device {
  int32_t type, id;
};
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct ForeignTensor {
  void* data;
  Device device;
  int32_t dims;
  DataType dtype;
  int64_t *shape, *strides;  // in elements; null strides: C order
  uint64_t byte_offset;
};
struct Managed {
  static constexpr const char *name = "dltensor", *used_name = "used_dltensor";
  ForeignTensor tensor;
  void* context;
  void (*deleter)(Managed*);
};
struct ManagedVersioned {
  static constexpr const char *name = "dltensor_versioned", *used_name = "used_dltensor_versioned";
  uint32_t major, minor;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  ForeignTensor tensor;
};

[[noreturn]] void fail_buffer(const std::string& message) { throw py::buffer_error(message); }

DataType type_of(DType t) {
  const uint8_t bits = uint8_t(8 * item_size(t));
  switch (t) {
    case DType::float32:
    case DType::float64: return {kFloat, bits, 1};
    case DType::int64:
    case DType::int32: return {kInt, bits, 1};
    case DType::uint8: return {kUnsigned, bits, 1};
    case DType::boolean: return {kBool, bits, 1};
  }
  throw std::logic_error("dlpack: unknown dtype");
}

DType dtype_of(DataType given) {
  for (int i = 0; i < kDTypeCount; i++) {
    const DataType t = type_of(DType(i));
    if (t.code == given.code && t.bits == given.bits && t.lanes == given.lanes) return DType(i);
  }
  fail_type("from_dlpack: expected float32, float64, int64, int32, uint8 or bool, got DLPack type code " +
            std::to_string(given.code) + " of " + std::to_string(given.bits) + " bits and " +
            std::to_string(given.lanes) + " lanes");
}

// ---- out

// What a capsule hands over. It holds the block and not the Array, so a consumer may let go without the GIL.
template <class M>
struct Export {
  M managed;
  Block* block;
  int64_t shape[kMaxDims], strides[kMaxDims];
};

template <class M>
void delete_export(M* managed) {
  auto* e = static_cast<Export<M>*>(managed->context);
  release(e->block);
  delete e;
}

template <class M>
void delete_capsule(PyObject* capsule) {  // a capsule that nobody consumed still owns its tensor
  if (!PyCapsule_IsValid(capsule, M::name)) return;
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, M::name));
  if (managed->deleter) managed->deleter(managed);
}

template <class M>
py::object export_capsule(const Array& a, uint64_t flags) {
  auto* e = new Export<M>{};
  e->block = a.block;
  retain(a.block);
  std::copy_n(a.shape, a.dims, e->shape);
  std::copy_n(a.strides, a.dims, e->strides);
  e->managed.tensor = {a.data, {kCpu, 0}, a.dims, type_of(a.dtype), e->shape, e->strides, 0};
  e->managed.context = e;
  e->managed.deleter = delete_export<M>;
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    e->managed.major = kMajorVersion;
    e->managed.flags = flags;
  }
  PyObject* capsule = PyCapsule_New(&e->managed, M::name, delete_capsule<M>);
  if (!capsule) {
    delete_export<M>(&e->managed);
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(capsule);
}

py::object to_dlpack(const ArrayRef& given, const py::object& stream, const py::object& max_version,
                     const py::object& device, const py::object& copy) {
  check_host_access("__dlpack__ of an array");
  if (!stream.is_none()) fail_buffer("__dlpack__: a CPU array has no streams; expected stream=None");
  if (!device.is_none()) {
    const auto [type, id] = device.cast<std::pair<int, int>>();
    if (type != kCpu || id != 0)
      fail_buffer("__dlpack__: the array is on the CPU, device (1, 0); cannot export to (" + std::to_string(type) +
                  ", " + std::to_string(id) + ")");
  }
  const bool copied = !copy.is_none() && copy.cast<bool>();
  ArrayRef a = given;
  if (copied) {
    a = new_like_strided(*given);
    copy_into(*given, *a);
  }
  const bool readonly = a->block->readonly;
  const bool versioned = !max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= int(kMajorVersion);
  if (versioned) return export_capsule<ManagedVersioned>(*a, (readonly ? kReadOnly : 0) | (copied ? kCopied : 0));
  if (readonly) fail_buffer("__dlpack__: a read-only array needs a consumer of DLPack 1.0 or later");
  return export_capsule<Managed>(*a, 0);
}

// ---- in

// Memory of a producer's tensor.
template <class M>
struct ManagedBlock : Block {
  M* managed;

  ManagedBlock(M* m, char* low, char* high, bool given_readonly) : managed(m) {
    data = low;
    capacity = size_t(high - low);
    readonly = given_readonly;
    release = give_back;
  }

 private:
  static void give_back(Block* block) {
    if (!Py_IsInitialized()) return;  // the producer went with the interpreter
    const PyGILState_STATE gil = PyGILState_Ensure();
    M* managed = static_cast<ManagedBlock*>(block)->managed;
    if (managed->deleter) managed->deleter(managed);
    delete static_cast<ManagedBlock*>(block);
    PyGILState_Release(gil);
  }
};

// The array's layout and the lowest and one past the highest byte that it reaches.
Array layout_of(const ForeignTensor& t, char** low, char** high) {
  if (t.device.type != kCpu && t.device.type != kCudaHost)
    fail_buffer("from_dlpack: expected memory of the CPU, got device type " + std::to_string(t.device.type));
  if (t.dims < 0 || t.dims > kMaxDims)
    fail("from_dlpack: expected at most 8 dimensions, got " + std::to_string(t.dims));
  Array layout{};
  layout.dtype = dtype_of(t.dtype);
  int64_t size = 1, below = 0, above = 0;  // elements; `size` were none 0, so that no product of sizes overflows
  for (int i = 0; i < t.dims; i++) {
    if (t.shape[i] < 0) fail("from_dlpack: negative size in shape " + shape_string(t.shape, t.dims));
    if (__builtin_mul_overflow(size, t.shape[i] ? t.shape[i] : 1, &size)) fail("from_dlpack: the shape overflows");
  }
  set_shape(layout, t.shape, t.dims);
  for (int i = 0; t.strides && i < t.dims; i++) layout.strides[i] = t.strides[i];
  for (int i = 0; layout.size && i < t.dims; i++) {
    int64_t reach;
    if (__builtin_mul_overflow(layout.shape[i] - 1, layout.strides[i], &reach) ||
        __builtin_add_overflow(reach < 0 ? below : above, reach, reach < 0 ? &below : &above))
      fail("from_dlpack: the strides overflow");
  }
  update_contiguous(layout);
  layout.data = static_cast<char*>(t.data) + t.byte_offset;
  const int64_t item = int64_t(item_size(layout.dtype));
  *low = layout.data + below * item;
  *high = layout.data + (layout.size ? above + 1 : 0) * item;
  if (reinterpret_cast<size_t>(layout.data) % item)
    fail_buffer("from_dlpack: the memory is not aligned to its elements of " + std::to_string(item) + " bytes");
  return layout;
}

template <class M>
ArrayRef consume(PyObject* capsule) {
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, M::name));
  bool readonly = false;
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    if (managed->major != kMajorVersion)
      fail_buffer("from_dlpack: expected DLPack version 1.x, got " + std::to_string(managed->major) + "." +
                  std::to_string(managed->minor));
    readonly = managed->flags & kReadOnly;
  }
  char *low, *high;
  Array layout = layout_of(managed->tensor, &low, &high);
  PyCapsule_SetName(capsule, M::used_name);  // from here on the tensor is ours
  PyCapsule_SetDestructor(capsule, nullptr);
  layout.block = new ManagedBlock<M>(managed, low, high, readonly);
  ArrayRef a = view(layout);
  release(layout.block);  // the view holds it
  return a;
}

// A producer of before version 1 does not know `max_version`.
py::object capsule_of(const py::object& producer) {
  const py::object method = producer.attr("__dlpack__");
  try {
    return method(py::arg("max_version") = py::make_tuple(kMajorVersion, 0));
  } catch (py::error_already_set& e) {
    if (!e.matches(PyExc_TypeError)) throw;
  }
  return method();
}

ArrayRef from_dlpack(const py::object& given) {
  check_host_access("from_dlpack");
  py::object capsule = given;
  if (!PyCapsule_CheckExact(given.ptr())) {
    if (!py::hasattr(given, "__dlpack__"))
      fail_type(std::string("from_dlpack: expected an object with __dlpack__, got ") + Py_TYPE(given.ptr())->tp_name);
    if (py::hasattr(given, "__dlpack_device__")) {
      const int type = given.attr("__dlpack_device__")().cast<py::tuple>()[0].cast<int>();
      if (type != kCpu && type != kCudaHost)
        fail_buffer("from_dlpack: expected memory of the CPU, got device type " + std::to_string(type));
    }
    capsule = capsule_of(given);
  }
  if (PyCapsule_IsValid(capsule.ptr(), ManagedVersioned::name)) return consume<ManagedVersioned>(capsule.ptr());
  if (PyCapsule_IsValid(capsule.ptr(), Managed::name)) return consume<Managed>(capsule.ptr());
  fail("from_dlpack: expected a DLPack capsule that nobody has consumed");
}

}  // namespace

void bind_dlpack(py::module_& m) {
  py::object array = m.attr("Array");
  array.attr("__dlpack__") = py::cpp_function(to_dlpack, py::is_method(array), py::name("__dlpack__"), py::kw_only(),
                                              py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
                                              py::arg("dl_device") = py::none(), py::arg("copy") = py::none());
  array.attr("__dlpack_device__") = py::cpp_function([](const ArrayRef&) { return py::make_tuple(int(kCpu), 0); },
                                                     py::is_method(array), py::name("__dlpack_device__"));
  m.def("from_dlpack", from_dlpack);
}

}  // namespace pynn
