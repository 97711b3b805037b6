#include "runtime/pace.h"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace pynn {
namespace {

// What differs by less is noise, and cuts that wander take rows out of the caches.
constexpr double kAlike = 0.06;

// Of each thread, against the mean of those it worked with; 0 before the first job. Whoever writes owns the team.
std::atomic<float> paces[kMostPaced];

double pace_of(int thread) {
  const float pace = paces[thread].load(std::memory_order_relaxed);
  return pace > 0 ? pace : 1;
}

}  // namespace

bool cut_by_pace(int threads, int64_t n, int64_t* begins) {
  if (threads > kMostPaced || n < threads) return false;
  double sum = 0, least = pace_of(0), most = least;
  for (int i = 0; i < threads; i++) {
    sum += pace_of(i);
    least = std::min(least, pace_of(i));
    most = std::max(most, pace_of(i));
  }
  if (most < (1 + 2 * kAlike) * least) return false;
  double below = 0;
  for (int i = 0; i < threads; i++) {
    begins[i] = std::clamp<int64_t>(std::llround(double(n) * below / sum), i ? begins[i - 1] + 1 : 0, n - threads + i);
    below += pace_of(i);
  }
  begins[threads] = n;
  return true;
}

void note_pace(int threads, const double* work) {
  double mean = 0;
  for (int i = 0; i < threads; i++) mean += work[i] / threads;
  if (threads > kMostPaced || !(mean > 0)) return;
  for (int i = 0; i < threads; i++) {
    // Halfway to what was measured, by a fifth at most: a thread may have lost a time slice in this job alone.
    const double pace = pace_of(i), step = std::clamp((work[i] / mean - pace) / 2, -pace / 5, pace / 5);
    paces[i].store(float(std::clamp(pace + step, 0.1, 10.0)), std::memory_order_relaxed);
  }
}

}  // namespace pynn
