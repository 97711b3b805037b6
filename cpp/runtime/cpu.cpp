// The instruction sets and the name of the CPU, from cpuid.
#include "runtime/machine.h"

#if defined(__x86_64__)
#include <cpuid.h>
#else
#include <fstream>
#endif

#include <cstdint>
#include <cstring>

namespace pynn {

#if defined(__x86_64__)

namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);  // leaves zeros where the leaf does not exist
  return r;
}

// Which register files the operating system saves on a switch.
uint64_t saved_state() {
  if (!(cpuid(1).ecx & bit_OSXSAVE)) return 0;
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

bool has(unsigned reg, unsigned bits) { return (reg & bits) == bits; }

}  // namespace

// The levels of the x86-64 psABI: the compiler may use all of a level's instructions in a kernel built for it.
bool cpu_supports(const std::string& isa) {
  const Registers basic = cpuid(1), more = cpuid(7), extended = cpuid(0x80000001);
  constexpr uint64_t kVectorState = 0x6, kWideState = 0xe6;  // xmm and ymm; also the mask registers and zmm
  const bool v2 = has(basic.ecx, bit_SSE3 | bit_SSSE3 | bit_CMPXCHG16B | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT) &&
                  has(extended.ecx, bit_LAHF_LM);
  const bool v3 = v2 && has(basic.ecx, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE) &&
                  has(more.ebx, bit_AVX2 | bit_BMI | bit_BMI2) && has(extended.ecx, bit_LZCNT) &&
                  (saved_state() & kVectorState) == kVectorState;
  const bool v4 = v3 && has(more.ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD) &&
                  (saved_state() & kWideState) == kWideState;
  return isa == "baseline" ? v2 : isa == "avx2" ? v3 : isa == "avx512" && v4;
}

std::string cpu_name() {
  if (cpuid(0x80000000).eax < 0x80000004) return "x86-64";
  char text[49] = {};
  for (unsigned i = 0; i < 3; i++) {
    const Registers r = cpuid(0x80000002 + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  const std::string name = text;
  const size_t first = name.find_first_not_of(' '), last = name.find_last_not_of(' ');
  return first == std::string::npos ? "x86-64" : name.substr(first, last - first + 1);
}

#else

bool cpu_supports(const std::string& isa) { return isa == "baseline"; }

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0 || line.rfind("Model", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

#endif

}  // namespace pynn
