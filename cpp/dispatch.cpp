// Compiled without ISA flags: nothing here may need more than the baseline.
#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>

#include "runtime/machine.h"

namespace pynn {

// Every kernel file defines <op>_kernels in the namespace of its instruction set.
#define DECLARE(name, type) extern const type name##_kernels;
#define MEMBER(name, type) name##_kernels,
#define X(isa)                                                  \
  namespace isa {                                               \
  PYNN_OP_LIST(DECLARE)                                         \
  static KernelTable table() { return {PYNN_OP_LIST(MEMBER)}; } \
  }
PYNN_ISA_LIST
#undef X
#undef MEMBER
#undef DECLARE

const KernelTable* kernel_table = nullptr;

namespace {

struct Isa {
  const char* name;
  KernelTable table;
};

// Worst to best.
const std::vector<Isa>& isas() {
  static const auto* list = new std::vector<Isa>{
#define X(isa) {#isa, isa::table()},
      PYNN_ISA_LIST
#undef X
  };
  return *list;
}

std::string chosen;

void use(const std::string& name, const std::string& what) {
  for (const Isa& isa : isas())
    if (name == isa.name && cpu_supports(name)) {
      chosen = name;
      kernel_table = &isa.table;
      return;
    }
  std::string message = what + " is '" + name + "'; this CPU and build support:";
  for (const std::string& supported : supported_isas()) message += " " + supported;
  throw std::invalid_argument(message);
}

}  // namespace

std::vector<std::string> built_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas()) names.push_back(isa.name);
  return names;
}

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas())
    if (cpu_supports(isa.name)) names.push_back(isa.name);
  return names;
}

void use_isa(const std::string& name) { use(name, "use_isa: the instruction set"); }

void choose_isa() {
  const char* wanted = std::getenv("PYNN_ISA");
  const std::vector<std::string> supported = supported_isas();
  if (wanted && *wanted) return use(wanted, "PYNN_ISA");
  if (supported.empty()) throw std::invalid_argument("pynn needs a CPU with x86-64-v2 (SSE4.2, SSSE3, POPCNT)");
  use_isa(supported.back());
}

const std::string& isa_name() { return chosen; }

}  // namespace pynn
