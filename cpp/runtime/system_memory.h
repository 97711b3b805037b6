// Memory straight from the system, for the pool and the workspaces.
#pragma once
#include <cstddef>

namespace pynn {

// At least `bytes`, 64-byte aligned, or null. Blocks of a megabyte and more are mapped on their own, so that giving
// one back really returns its memory; from 4 MiB on they ask for huge pages.
void* system_allocate(size_t bytes);
void system_free(void* data, size_t bytes);  // `bytes` as asked for

}  // namespace pynn
