// The code of the tiles. gemm_tile_float.cpp and gemm_tile_double.cpp instantiate it, so that they build in parallel.
#pragma once
#include "kernels/gemm_tile.h"
#include "simd/activation.h"
#include "simd/parallel.h"
#include "simd/stream.h"

namespace pynn::PYNN_ISA {
namespace {

template <class T>
PYNN_INLINE void fetch_row(RowFetch<T>& fetch) {
  if (fetch.to) {
    // The row that comes 8 rows later: measured at 128 x 1024 x 3136, 4 rows are too few.
    __builtin_prefetch(fetch.from + 8 * fetch.step);
    __builtin_prefetch(fetch.from + 8 * fetch.step + kTileColumns<T> - 1);
    PYNN_UNROLL
    for (int j = 0; j < kTileColumns<T>; j += lanes<T>) store(fetch.to + j, load(fetch.from + j));
    fetch.to += kTileColumns<T>;
  } else {
    __builtin_prefetch(fetch.from, 0, 2);
    __builtin_prefetch(fetch.from + kTileColumns<T> - 1, 0, 2);
  }
  fetch.from += fetch.step;
}

template <class T, int Rows, int Vectors, bool ByRows, class... More>
void tile(const Runs& terms, const T* a, int64_t a_step, const T* b, int64_t b_step, T* c, int64_t ldc, int columns,
          Output output, const T* bias, More... more) {
  constexpr bool kCopies = ByRows && sizeof...(More) > 0, kFetches = !ByRows && sizeof...(More) > 0;
  T* copy = nullptr;
  if constexpr (kCopies) copy = (more, ...);
  constexpr int L = lanes<T>;
  constexpr int kLast = Vectors - 1;
  const int in_last = columns - kLast * L;
  // Whether each multiply-add broadcasts the element of A itself. By columns that many rows let a core issue 34
  // instructions for 28 multiply-adds instead of 44, and still load less than two vectors a cycle; by rows, 37, only
  // where the address is a register, since an instruction with an address of two is split again. Where another
  // hyperthread takes its part of the issue slots, 1.2 times as fast by columns and 1.1 by rows (in L1); no difference
  // on a core of one's own.
  const auto embeds = [](int i) { return Vectors == 2 && (ByRows ? i % 2 == 0 : i < Rows * 5 / 7); };
  Vec<T> sums[Rows][Vectors] = {};
  if (output == Output::add) {
    PYNN_UNROLL
    for (int i = 0; i < Rows; i++) {
      PYNN_UNROLL
      for (int j = 0; j < kLast; j++) sums[i][j] = load(c + i * ldc + j * L);
      sums[i][kLast] = load(c + i * ldc + kLast * L, in_last);
    }
  }

  // All products of one p; factor(i) points at A[i][p].
  const auto step = [&](auto whole, const auto& factor) PYNN_LAMBDA {
    Vec<T> row[Vectors];
    PYNN_UNROLL
    for (int j = 0; j < kLast; j++) row[j] = load(b + j * L);
    row[kLast] = whole.value ? load(b + kLast * L) : load(b + kLast * L, in_last);
    b += b_step;
    if constexpr (kCopies) {
      PYNN_UNROLL
      for (int j = 0; j < Vectors; j++) store(copy + j * L, row[j]);
      copy += Vectors * L;
    }
    PYNN_UNROLL
    for (int i = 0; i < Rows; i++) {
      if (embeds(i)) {
        PYNN_UNROLL
        for (int j = 0; j < Vectors; j++) sums[i][j] = fma_broadcast(factor(i), row[j], sums[i][j]);
      } else {
        const Vec<T> x = broadcast(*factor(i));
        PYNN_UNROLL
        for (int j = 0; j < Vectors; j++) sums[i][j] = fma_in_place(x, row[j], sums[i][j]);
      }
    }
  };

  const auto by_columns = [&](auto whole, int64_t k) PYNN_LAMBDA {
    const auto next = [&](auto count) PYNN_LAMBDA {
      PYNN_UNROLL
      for (int u = 0; u < count.value; u++) {
        step(whole, [&](int i) PYNN_LAMBDA { return a + i; });
        a += a_step;
      }
    };
    if constexpr (decltype(whole)::value)
      for (; k >= 2; k -= 2) next(Count<2>{});
    for (; k > 0; k--) next(Count<1>{});
  };

  const auto all_steps = [&](auto whole) PYNN_LAMBDA {
    if constexpr (kFetches) {
      RowFetch<T> fetch = (more, ...);
      int64_t rows = fetch.rows;
      for (int64_t k = terms.length; k > 0; k -= fetch.terms_per_row) {
        if (rows-- > 0) fetch_row(fetch);
        by_columns(whole, min_of(fetch.terms_per_row, k));
      }
    } else if constexpr (ByRows) {
      // A pointer serves two rows, at offsets of 0 and a_step: 14 rows need 7 registers.
      constexpr int kPointers = (Rows + 1) / 2;
      constexpr int kUnrolled = decltype(whole)::value ? 4 : 2;  // 4 gains nothing where B is ragged, but builds longer
      const T* rows[kPointers];
      PYNN_UNROLL
      for (int g = 0; g < kPointers; g++) rows[g] = a + 2 * g * a_step;
      const auto steps = [&](auto count) PYNN_LAMBDA {
        // So that GCC keeps one step and offsets, not a register for each of step, step + 1, ...
        asm("" : "+r"(a_step));
        PYNN_UNROLL
        for (int u = 0; u < count.value; u++)
          step(whole, [&](int i) PYNN_LAMBDA { return rows[i / 2] + (i % 2) * a_step + u; });
        PYNN_UNROLL
        for (int g = 0; g < kPointers; g++) rows[g] += count.value;
      };
      for (int64_t run = terms.count; run > 0; run--) {
        int64_t k = terms.length;
        for (; k >= kUnrolled; k -= kUnrolled) steps(Count<kUnrolled>{});
        for (; k > 0; k--) steps(Count<1>{});
        PYNN_UNROLL
        for (int g = 0; g < kPointers; g++) rows[g] += terms.a_next;
        b += terms.b_next;
      }
    } else {
      for (int64_t run = terms.count; run > 0; run--) {
        by_columns(whole, terms.length);
        a += terms.a_next;
        b += terms.b_next;
      }
    }
  };
  // A masked load takes a slot of an FMA port, 1 in 29 of a full tile.
  if (!kReadsRaggedRows || kFetches || in_last == L)
    all_steps(Count<1>{});
  else
    all_steps(Count<0>{});

  // Without a bias nothing is added: -0 + 0 would be +0.
  if (bias) {
    PYNN_UNROLL
    for (int j = 0; j < Vectors; j++) {
      const Vec<T> summand = j < kLast ? load(bias + j * L) : load(bias + j * L, in_last);
      PYNN_UNROLL
      for (int i = 0; i < Rows; i++) sums[i][j] = sums[i][j] + summand;
    }
  }
  if (output == Output::stream) {
    PYNN_UNROLL
    for (int i = 0; i < Rows; i++) {
      PYNN_UNROLL
      for (int j = 0; j < Vectors; j++) stream(c + i * ldc + j * L, sums[i][j]);
    }
    return;
  }
  PYNN_UNROLL
  for (int i = 0; i < Rows; i++) {
    PYNN_UNROLL
    for (int j = 0; j < kLast; j++) store(c + i * ldc + j * L, sums[i][j]);
    store(c + i * ldc + kLast * L, sums[i][kLast], in_last);
  }
}

// Table entries for Rows and fewer, Vectors and fewer.
template <class T, int Rows, int Vectors>
constexpr void fill(Tiles<T>& table) {
  table.by_rows[Rows][Vectors] = tile<T, Rows, Vectors, true>;
  table.by_columns[Rows][Vectors] = tile<T, Rows, Vectors, false>;
  if constexpr (3 * Rows >= 2 * kTileRows<T>) table.copying[Rows][Vectors] = tile<T, Rows, Vectors, true, T*>;
  if constexpr (Vectors == kTileVectors && 3 * Rows >= kTileRows<T>)
    table.fetching[Rows] = tile<T, Rows, Vectors, false, const RowFetch<T>&>;
  if constexpr (Vectors > 1)
    fill<T, Rows, Vectors - 1>(table);
  else if constexpr (Rows > 1)
    fill<T, Rows - 1, kTileVectors>(table);
}

template <class T>
constexpr Tiles<T> all_tiles() {
  Tiles<T> table = {};
  fill<T, kTileRows<T>, kTileVectors>(table);
  return table;
}

template <Activation kind, class T>
void activate_as(int64_t rows, int64_t columns, T* c, int64_t ldc) {
  constexpr int L = lanes<T>;
  for (int64_t i = 0; i < rows; i++, c += ldc) {
    int64_t j = 0;
    for (; j + L <= columns; j += L) store(c + j, activate<kind, T>(load(c + j)));
    const int n = int(columns - j);
    if (n) store(c + j, activate<kind, T>(load(c + j, n)), n);
  }
}

}  // namespace

template <class T>
void activate_tile(int64_t rows, int64_t columns, T* c, int64_t ldc, Activation activation) {
  switch (activation) {
    case Activation::none: return;
    case Activation::sigmoid: return activate_as<Activation::sigmoid>(rows, columns, c, ldc);
    case Activation::tanh: return activate_as<Activation::tanh>(rows, columns, c, ldc);
    case Activation::relu: return activate_as<Activation::relu>(rows, columns, c, ldc);
  }
}

}  // namespace pynn::PYNN_ISA
