// Cuts by the pace of the threads, on made-up times.
#include "check.h"
#include "runtime/pace.h"

using namespace pynn;

namespace {

// The longest part of a job of n items, in units of what equal cuts would take if all were as fast as the mean, after
// so many jobs on threads of the given speeds.
double longest(int threads, const double* speeds, int jobs, int64_t n = 1000) {
  double worst = 0;
  for (int job = 0; job < jobs; job++) {
    int64_t begins[kMostPaced + 1];
    if (!cut_by_pace(threads, n, begins))
      for (int i = 0; i <= threads; i++) begins[i] = n * i / threads;
    CHECK(begins[0] == 0 && begins[threads] == n);
    double work[kMostPaced], total = 0;
    worst = 0;
    for (int i = 0; i < threads; i++) {
      const double items = double(begins[i + 1] - begins[i]);
      CHECK(items >= 1);
      total += speeds[i];
      work[i] = speeds[i];
      worst = items / speeds[i] > worst ? items / speeds[i] : worst;
    }
    worst *= total / double(n);
    note_pace(threads, work);
  }
  return worst;
}

void fast_and_slow_threads_end_together() {
  const double speeds[] = {1, 0.5, 1, 0.7};
  CHECK(longest(2, speeds, 1) > 1.4);
  CHECK(longest(2, speeds, 12) < 1.02);
  CHECK(longest(4, speeds, 20) < 1.02);
}

void what_changes_is_followed() {
  const double before[] = {1, 0.6}, after[] = {0.6, 1};
  longest(2, before, 20);
  CHECK(longest(2, after, 20) < 1.02);
}

void equal_threads_get_equal_parts() {
  const double equal[] = {1, 1, 1}, nearly[] = {1, 0.96, 0.99};
  longest(3, equal, 30);
  int64_t begins[4];
  CHECK(!cut_by_pace(3, 1000, begins));
  longest(3, nearly, 30);
  CHECK(!cut_by_pace(3, 1000, begins));
}

void one_slow_job_changes_little() {
  const double equal[] = {1, 1}, stopped[] = {1, 0.001};
  longest(2, equal, 30);
  longest(2, stopped, 1);
  int64_t begins[3];
  CHECK(!cut_by_pace(2, 1000, begins) || (begins[1] > 500 && begins[1] < 620));
}

void nobody_is_left_without_work() {
  const double speeds[] = {100, 0.01, 1};
  longest(3, speeds, 50, 3);
  longest(3, speeds, 50, 4);
  int64_t begins[4];
  CHECK(!cut_by_pace(3, 2, begins));
}

}  // namespace

int main() {
  RUN(fast_and_slow_threads_end_together);
  RUN(what_changes_is_followed);
  RUN(equal_threads_get_equal_parts);
  RUN(one_slow_job_changes_little);
  RUN(nobody_is_left_without_work);
}
