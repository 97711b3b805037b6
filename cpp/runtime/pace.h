// The pace of the team's threads.
//
// Cores differ: fast and slow ones in one processor, or one whose other hyperthread works for somebody else. A job that
// is cut into one part a thread lasts as long as the slowest takes, so the next one is cut by how fast the parts of the
// last ones were. Only for work whose bits do not depend on the cuts.
#pragma once
#include <cstdint>

namespace pynn {

inline constexpr int kMostPaced = 64;  // threads; more are cut equally

// begins[i], i <= threads: where the part of thread i of [0, n) begins, none empty where n >= threads. False where all
// were about as fast, and equal parts are best.
bool cut_by_pace(int threads, int64_t n, int64_t* begins);

// work[i]: what thread i did a nanosecond, in any unit.
void note_pace(int threads, const double* work);

}  // namespace pynn
