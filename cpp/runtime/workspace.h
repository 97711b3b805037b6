// Scratch memory for kernels: one buffer per thread and purpose, grown when needed, never shared.
#pragma once
#include <cstddef>

namespace pynn {

enum class Scratch { pack_a, pack_b, partial, row, count };

// 64-byte aligned; the contents are undefined; valid until this thread asks for the same purpose again. 64 bytes
// beyond the end may be read. Null when memory is out (kernels then return Status::out_of_memory).
void* scratch(Scratch purpose, size_t bytes);

size_t workspace_bytes();   // held by all threads
void release_workspaces();  // this thread's at once, the other threads' at their next use

}  // namespace pynn
