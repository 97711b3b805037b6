// The one way a kernel is called.
//
// A launch struct is plain data: sizes, strides, flags and raw pointers. It lists its pointers, each read or
// written, so that a program can record the call and later run it on other memory:
//
//   struct Scale {
//     static constexpr const char* name = "scale";
//     static constexpr bool arithmetic = true;  // flush subnormals; false for moves and comparisons
//     const float* x; float* y; int64_t n; float factor;
//     template <class F> void pointers(F&& f) { f(x, Access::read); f(y, Access::write); }
//   };
#pragma once
#include "runtime/float_mode.h"
#include "runtime/program.h"
#include "runtime/team.h"
#include "runtime/types.h"

namespace pynn {

template <class P>
using Kernel = Status (*)(const P&);

template <class P>
struct Trampoline {
  static Status run(void* kernel, const void* params) {
    FloatMode mode(P::arithmetic);
    const Status status = reinterpret_cast<Kernel<P>>(kernel)(*static_cast<const P*>(params));
    call_ended();
    return status;
  }
};

// Runs `kernel` on `params`; while this thread records, first appends the call to the program.
template <class P>
Status launch(Kernel<P> kernel, P& params) {
  if (Program* program = recording()) [[unlikely]] {
    program->begin_call(P::name, &Trampoline<P>::run, reinterpret_cast<void*>(kernel), &params, sizeof(P));
    params.pointers([&](auto& pointer, Access access) {
      if (pointer) program->add_pointer(&pointer, access);
    });
    program->end_call();
  }
  return Trampoline<P>::run(reinterpret_cast<void*>(kernel), &params);
}

}  // namespace pynn
