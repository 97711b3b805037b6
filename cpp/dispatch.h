// The kernel table of the instruction set chosen for this process.
#pragma once
#include <string>
#include <vector>

#include "op_list.h"
#include "ops/all.h"

namespace pynn {

struct KernelTable {
#define X(name, type) type name;
  PYNN_OP_LIST(X)
#undef X
};

extern const KernelTable* kernel_table;
inline const KernelTable& kernels() { return *kernel_table; }

// Picks the best supported instruction set, or the one that PYNN_ISA names; throws std::invalid_argument where that is
// unknown or unsupported. Called once, when the module is imported.
void choose_isa();
void use_isa(const std::string& name);  // as PYNN_ISA; recorded programs keep the kernels they recorded
const std::string& isa_name();
std::vector<std::string> built_isas();
std::vector<std::string> supported_isas();

}  // namespace pynn
