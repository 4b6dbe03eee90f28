// The permutohedral lattice: Gaussian sums over points in D dimensions.
//
// Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Computer Graphics Forum 2010.
// A point is carried to the hyperplane of D + 1 coordinates that sum to zero and spread over the D + 1 corners of the
// simplex around it (splat); the lattice is blurred with (1/2, 1, 1/2) along each of its D + 1 axes, and read back with
// the same weights (slice).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "table.hpp"

namespace wsss {

constexpr int BLOCK = 64;  // pixels that are worked on at once: their scratch stays in the first cache

/// Positions that float32 cannot tell apart any more, or more points than 32-bit numbers hold.
struct RangeError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// One Gaussian kernel over the pixels of an image.
template <int D>
class Lattice {
  public:
    using Bounds = std::array<float, D>;

    /// The corners of the simplex around a pixel, and what the pixel gives to each.
    struct Corners {
        std::uint32_t at[D + 1];
        float weight[D + 1];
    };

    /// ``positions(first, count, out)`` writes where ``count`` <= BLOCK pixels lie, in standard deviations, to
    /// out[d][i]; ``low`` and ``high`` bound them. ``expected``: a guess at the number of lattice points.
    template <typename Positions>
    Lattice(std::size_t pixels, const Positions& positions, const Bounds& low, const Bounds& high, std::size_t expected)
        : pixels_(pixels) {
        if (pixels >= (std::size_t(1) << 31) / (D + 1)) throw RangeError("the image has too many pixels");
        for (int i = 0; i < D; ++i)
            scale_[i] = float((D + 1) * std::sqrt(2.0 / 3.0) / std::sqrt((i + 1.0) * (i + 2.0)));
        key_bits_ = pack(low, high);
        if (key_bits_ == 63)
            build<std::uint64_t>(positions, expected);
        else
            build<Wide>(positions, expected);
    }

    std::size_t pixels() const { return pixels_; }
    std::size_t points() const { return points_; }
    int key_bits() const { return key_bits_; }

    /// Symmetric normalisation, and the kernel's cost, go into the weights: times sqrt(cost / (K 1)).
    void normalise(float cost) {
        Buffer<float> values = buffer<float>(points_ + 1);
        std::fill_n(values.get(), points_ + 1, 0.0f);
        for (std::size_t i = 0; i < pixels_; ++i)
            for (int k = 0; k <= D; ++k) values[corners_[i].at[k]] += corners_[i].weight[k];
        blur<1>(values.get(), 1);
        for (std::size_t i = 0; i < pixels_; ++i) {
            float sum = 0;
            for (int k = 0; k <= D; ++k) sum += corners_[i].weight[k] * values[corners_[i].at[k]];
            const float factor = std::sqrt(cost / (sum + 1e-20f));
            for (int k = 0; k <= D; ++k) corners_[i].weight[k] *= factor;
        }
    }

    // ``values`` are (points + 1, width) below, the last row scratch. ``width`` is C where C is not 0, so that the
    // compiler knows it. Rows are (count, width), of pixels from ``first`` on.

    /// Sets the points to zero that the pixels of a block are the first to meet; blocks come in order.
    void clear(std::size_t block, float* values, std::size_t width) const {
        const std::size_t from = block ? met_[block - 1] : 0;
        const std::size_t to = block + 1 < met_.size() ? met_[block] : points_ + 1;
        std::fill(values + from * width, values + to * width, 0.0f);
    }

    template <int C>
    void splat(std::size_t first, int count, const float* __restrict rows, float* __restrict values, int width) const {
        if (C) width = C;
        for (int p = 0; p < count; ++p, rows += width) {
            const Corners& corners = corners_[first + p];
            if (C > 4 && p + AHEAD < count) prefetch<1>(corners_[first + p + AHEAD], values, width);
            for (int k = 0; k <= D; ++k) {
                float* __restrict point = values + std::size_t(corners.at[k]) * width;
                for (int c = 0; c < width; ++c) point[c] += corners.weight[k] * rows[c];
            }
        }
    }

    /// Adds to ``rows``.
    template <int C>
    void slice(std::size_t first, int count, const float* __restrict values, float* __restrict rows, int width) const {
        if (C) width = C;
        for (int p = 0; p < count; ++p, rows += width) {
            const Corners& corners = corners_[first + p];
            if (C > 4 && p + AHEAD < count) prefetch<0>(corners_[first + p + AHEAD], values, width);
            alignas(64) float local[C ? C : 1];
            float* __restrict sum = C ? local : rows;
            if (C) std::copy(rows, rows + width, local);
            for (int k = 0; k <= D; ++k) {
                const float* __restrict point = values + std::size_t(corners.at[k]) * width;
                for (int c = 0; c < width; ++c) sum[c] += corners.weight[k] * point[c];
            }
            if (C) std::copy(local, local + width, rows);
        }
    }

    /// In place.
    template <int C>
    void blur(float* values, int width) const {
        for (const auto& chain : chains_) sweep<C>(chain, values, width);
    }

  private:
    static constexpr std::uint32_t HEAD = std::uint32_t(1) << 31;
    static constexpr int AHEAD = 4;            // pixels between asking for a row of a point and using it
    static constexpr int REACH = 3 * (D + 1);  // corners lie D away at most, their neighbours as much again

    /// How coordinates are packed: key = sum of (coordinate - base) * stride. Each coordinate is bounded by what the
    /// box of positions allows, so no two keys collide. Returns the bits that are enough, 63 or 127.
    int pack(const Bounds& low, const Bounds& high) {
        double size = 1;
        Wide stride = 1;
        for (int i = D - 1; i >= 0; --i) {  // coordinate i: scaled positions from i on, less i times that of i - 1
            double least = 0, most = 0;
            if (i) {
                least = -i * double(scale_[i - 1]) * high[i - 1];
                most = -i * double(scale_[i - 1]) * low[i - 1];
            }
            for (int j = i; j < D; ++j) {
                least += double(scale_[j]) * low[j];
                most += double(scale_[j]) * high[j];
            }
            if (!(std::max(std::abs(least), std::abs(most)) < 1 << 17))
                throw RangeError("positions are too many standard deviations apart");
            base_[i] = std::int32_t(std::floor(least)) - REACH;
            stride_[i] = stride;
            const std::int32_t range = std::int32_t(std::ceil(most)) + REACH - base_[i] + 1;
            stride *= Wide(range);
            size *= range;
        }
        ones_ = 0;
        for (int i = 0; i < D; ++i) ones_ += stride_[i];
        return size < 9e18 ? 63 : 127;
    }

    template <typename Key, typename Positions>
    void build(const Positions& positions, std::size_t expected) {
        corners_ = buffer<Corners>(pixels_);
        met_.reserve(pixels_ / BLOCK + 1);
        Table<Key> table(expected);
        for (std::size_t first = 0; first < pixels_; first += BLOCK) {
            float position[D][BLOCK] = {};
            const int count = int(std::min<std::size_t>(BLOCK, pixels_ - first));
            positions(first, count, position);
            embed(position, first, count, table);
            met_.push_back(std::uint32_t(table.keys().size()));
        }
        points_ = table.keys().size();
        link(table);
    }

    /// Corners and weights of the pixels of a block.
    template <typename Key>
    void embed(const float (&position)[D][BLOCK], std::size_t first, int count, Table<Key>& table) {
        float residual[D + 1][BLOCK], nearest[D + 1][BLOCK], excess[BLOCK] = {}, above[BLOCK] = {};
        std::int32_t rank[D + 1][BLOCK] = {};
        for (int i = D; i > 0; --i)
            for (int p = 0; p < BLOCK; ++p) {
                const float scaled = position[i - 1][p] * scale_[i - 1];
                residual[i][p] = above[p] - i * scaled;
                above[p] += scaled;
            }
        for (int p = 0; p < BLOCK; ++p) residual[0][p] = above[p];
        // the nearest place whose coordinates are multiples of D + 1; they need not sum to zero
        constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
        for (int i = 0; i <= D; ++i)
            for (int p = 0; p < BLOCK; ++p) {
                const float rounded = (residual[i][p] * (1.0f / (D + 1)) + magic) - magic;
                nearest[i][p] = rounded * (D + 1);
                residual[i][p] -= nearest[i][p];
                excess[p] += rounded;
            }
        // the rank of each residual, largest first, says which coordinates move by D + 1 to make the sum zero
        for (int i = 0; i < D; ++i)
            for (int j = i + 1; j <= D; ++j)
                for (int p = 0; p < BLOCK; ++p) {
                    const std::int32_t less = residual[i][p] < residual[j][p];
                    rank[i][p] += less;
                    rank[j][p] += 1 - less;
                }
        for (int i = 0; i <= D; ++i)
            for (int p = 0; p < BLOCK; ++p) {
                const std::int32_t moved = rank[i][p] + std::int32_t(excess[p]);
                const std::int32_t turn = moved < 0 ? D + 1 : moved > D ? -(D + 1) : 0;
                rank[i][p] = moved + turn;
                nearest[i][p] += float(turn);
                residual[i][p] = (residual[i][p] - float(turn)) * (1.0f / (D + 1));
            }
        Key keys[BLOCK][D + 1];
        std::size_t places[BLOCK][D + 1];
        table.reserve(BLOCK * (D + 1));
        for (int p = 0; p < count; ++p) {
            float ranked[D + 2] = {};
            Key turn[D + 1];  // by rank: what one coordinate's step of D + 1 is worth
            Key key = 0;
            for (int i = 0; i <= D; ++i) {
                ranked[rank[i][p]] = residual[i][p];
                turn[rank[i][p]] = i < D ? Key(stride_[i]) * (D + 1) : 0;
                if (i < D) key += Key(std::int32_t(nearest[i][p]) - base_[i]) * Key(stride_[i]);
            }
            Corners& corners = corners_[first + p];
            for (int k = 0; k <= D; ++k) {
                corners.weight[k] = k ? ranked[D - k] - ranked[D - k + 1] : 1 + ranked[D] - ranked[0];
                keys[p][k] = key;
                places[p][k] = table.place(key);
                key += Key(ones_) - turn[D - k];
            }
        }
        for (int p = 0; p < count; ++p)
            for (int k = 0; k <= D; ++k) corners_[first + p].at[k] = table.insert(keys[p][k], places[p][k]);
    }

    /// Neighbours along each axis, written as chains: points that follow one another, the first marked as HEAD. A sweep
    /// along a chain needs no second copy of the values. Points without neighbours do not change and are left out.
    template <typename Key>
    void link(const Table<Key>& table) {
        const auto& keys = table.keys();
        Buffer<std::uint32_t> next = buffer<std::uint32_t>(points_);
        Buffer<std::uint8_t> follows = buffer<std::uint8_t>(points_);
        for (int axis = 0; axis <= D; ++axis) {
            const Key step = (axis < D ? Key(stride_[axis]) * (D + 1) : 0) - Key(ones_);
            std::fill_n(follows.get(), points_, 0);
            for (std::size_t first = 0; first < points_; first += BLOCK) {
                const std::size_t last = std::min(first + BLOCK, points_);
                std::size_t places[BLOCK];
                for (std::size_t i = first; i < last; ++i) places[i - first] = table.place(keys[i] + step);
                for (std::size_t i = first; i < last; ++i) {
                    next[i] = table.find(keys[i] + step, places[i - first]);
                    if (next[i] != Table<Key>::NONE) follows[next[i]] = 1;
                }
            }
            auto& chain = chains_[axis];
            for (std::uint32_t i = 0; i < points_; ++i) {
                if (follows[i] || next[i] == Table<Key>::NONE) continue;
                chain.push_back(i | HEAD);
                for (std::uint32_t at = next[i]; at != Table<Key>::NONE; at = next[at]) chain.push_back(at);
            }
            chain.push_back(std::uint32_t(points_) | HEAD);
            chain.shrink_to_fit();
        }
    }

    /// Rows of small lattices are in the second cache anyway; those of many channels are not.
    template <int WRITE>
    static void prefetch(const Corners& corners, const float* values, int width) {
        for (int k = 0; k <= D; ++k)
            for (int c = 0; c < width; c += 16)
                __builtin_prefetch(values + std::size_t(corners.at[k]) * width + c, WRITE);
    }

    template <int C>
    static void sweep(const std::vector<std::uint32_t>& chain, float* values, int width) {
        if (C) width = C;
        std::vector<float> loose(C ? 0 : width);
        alignas(64) float fixed[C ? C : 1] = {};
        float* __restrict half = C ? fixed : loose.data();  // of what the point before held
        float* here = values + std::size_t(chain[0] & ~HEAD) * width;
        for (std::size_t k = 1; k < chain.size(); ++k) {
            if (C == 0 || C > 4) {
                const std::uint32_t soon = chain[std::min(k + 8, chain.size() - 1)] & ~HEAD;
                for (int c = 0; c < width; c += 16) __builtin_prefetch(values + std::size_t(soon) * width + c, 1);
            }
            const float tie = chain[k] & HEAD ? 0.0f : 0.5f;
            float* there = values + std::size_t(chain[k] & ~HEAD) * width;
            step(here, there, half, tie, width);
            here = there;
        }
    }

    static void step(float* __restrict here, const float* __restrict there, float* __restrict half, float tie,
                     int width) {
        for (int c = 0; c < width; ++c) {
            const float held = here[c];
            here[c] = held + (half[c] + tie * there[c]);
            half[c] = tie * held;
        }
    }

    std::size_t pixels_, points_ = 0;
    int key_bits_;
    std::array<float, D> scale_;
    std::array<std::int32_t, D> base_;
    std::array<Wide, D> stride_;
    Wide ones_ = 0;
    Buffer<Corners> corners_;
    std::vector<std::uint32_t> met_;  // points that the pixels up to each block have met
    std::array<std::vector<std::uint32_t>, D + 1> chains_;
};

}  // namespace wsss
