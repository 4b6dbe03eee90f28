// Powers of a symmetric stencil in Chebyshev polynomials, for the random walk (see wsss/refine/random_walk.py).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

// The widest vectors that the processor has, found when the module is loaded; the sums are the same with all of them.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WSSS_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WSSS_CLONES
#endif

namespace wsss {

using Lanes = float __attribute__((vector_size(64)));
constexpr std::ptrdiff_t LANES = 16, BLOCK = 2 * LANES;

static inline __attribute__((always_inline)) void load(Lanes& to, const float* from) {
    std::memcpy(&to, from, sizeof(Lanes));
}

static inline __attribute__((always_inline)) void store(float* to, const Lanes& from) {
    std::memcpy(to, &from, sizeof(Lanes));
}

// Rows of values with zeros on both sides, so that a neighbour beyond the border is read as 0.
class Rows {
public:
    Rows(std::ptrdiff_t count, std::ptrdiff_t length, std::ptrdiff_t margin)
        : stride_(margin + length + margin), margin_(margin), values_(std::size_t(count * stride_), 0.0f) {}
    float* row(std::ptrdiff_t number) { return values_.data() + number * stride_ + margin_; }
    const float* row(std::ptrdiff_t number) const { return values_.data() + number * stride_ + margin_; }

private:
    std::ptrdiff_t stride_, margin_;
    std::vector<float> values_;
};

struct Direction {
    std::ptrdiff_t offset;  // partners stand so far apart in a map that is laid out as one row
    const float* weights;   // of the pairs (i, i + offset); 0 outside
};

// next_i = factor f_i (A now)_i - before_i into `before`, and total_i += coefficient next_i.
WSSS_CLONES void step(const Direction* directions, std::size_t count, std::ptrdiff_t length, const float* now,
                      float* before, const float* inverse, float factor, float coefficient, float* total) {
    for (std::ptrdiff_t i = 0; i < length; i += BLOCK) {
        Lanes sums[2] = {};
        for (std::size_t d = 0; d < count; ++d) {
            const std::ptrdiff_t offset = directions[d].offset;
            const float* weights = directions[d].weights + i;
            for (int part = 0; part < 2; ++part) {
                const std::ptrdiff_t at = part * LANES;
                Lanes weight, value;
                load(weight, weights + at);
                load(value, now + i + at + offset);
                sums[part] += weight * value;
                load(weight, weights + at - offset);
                load(value, now + i + at - offset);
                sums[part] += weight * value;
            }
        }
        for (int part = 0; part < 2; ++part) {
            const std::ptrdiff_t at = i + part * LANES;
            Lanes own, scale, old, all;
            load(own, now + at);
            load(scale, inverse + at);
            load(old, before + at);
            load(all, total + at);
            // a cell's own value last: small summands would be lost one by one in the large one
            const Lanes next = (sums[part] + own) * (scale * factor) - old;
            store(before + at, next);
            store(total + at, all + coefficient * next);
        }
    }
}

// sum over k of coefficients[k] T_k(A / s) of every map. `inverse` is 1 / s.
inline void power(const std::vector<std::pair<std::ptrdiff_t, const float*>>& pairs, const float* inverse,
                  const std::vector<float>& coefficients, const float* maps, float* results, std::ptrdiff_t count,
                  std::ptrdiff_t cells) {
    const std::ptrdiff_t length = (cells + BLOCK - 1) / BLOCK * BLOCK;
    std::ptrdiff_t reach = 0;
    for (const auto& pair : pairs) reach = std::max(reach, pair.first);
    Rows weights(std::ptrdiff_t(pairs.size()), length, reach);
    std::vector<Direction> directions;
    for (std::size_t d = 0; d < pairs.size(); ++d) {
        float* row = weights.row(std::ptrdiff_t(d));
        std::copy_n(pairs[d].second, cells - pairs[d].first, row);
        directions.push_back({pairs[d].first, row});
    }
    Rows scale(1, length, 0);
    std::copy_n(inverse, cells, scale.row(0));
    for (std::ptrdiff_t k = 0; k < count; ++k) {
        Rows values(2, length, reach), total(1, length, 0);
        float *now = values.row(0), *before = values.row(1);
        std::copy_n(maps + k * cells, cells, now);
        for (std::ptrdiff_t i = 0; i < cells; ++i) total.row(0)[i] = coefficients[0] * now[i];
        for (std::size_t degree = 1; degree < coefficients.size(); ++degree) {
            const float factor = degree == 1 ? 1.0f : 2.0f;
            step(directions.data(), directions.size(), length, now, before, scale.row(0), factor, coefficients[degree],
                 total.row(0));
            std::swap(now, before);
        }
        std::copy_n(total.row(0), cells, results + k * cells);
    }
}

}  // namespace wsss
