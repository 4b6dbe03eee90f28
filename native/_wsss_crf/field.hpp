// Mean field of the fully connected CRF over one image.
//
// Kraehenbuehl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011, with
// Potts labels: Q <- softmax(-U + K Q). Of L labels, q = Q - 1 / L is carried: one label, the reference, is minus the
// sum of the others, and so is its K q, so L - 1 channels are enough; K (1 / L), the same for all labels, cancels in
// the softmax. Labels with the same energies everywhere must stay alike, but where they lead, the field would blow up
// the last bit of a difference: hence no label is the reference that has such a twin.
#pragma once

#include <cstring>

#include "lattice.hpp"

namespace wsss {

/// Standard deviations in pixels and in grey levels, and what two pixels of different labels pay.
struct Kernel {
    float deviation, colour, cost;
};

/// One problem: energies (labels, height, width), labels >= 2, and where its probabilities go.
struct Problem {
    const float* energies;
    float* probabilities;
    int labels;
    int reference = -1;  // chosen by the field; -1: none, all labels are carried

    int channels() const { return labels - (reference >= 0); }
    int label(int channel) const { return channel + (reference >= 0 && channel >= reference); }
};

/// Pixels in tiles of 32 x 32, so that those worked on together share lattice points.
inline std::vector<std::uint32_t> tiled(int height, int width) {
    constexpr int side = 32;
    std::vector<std::uint32_t> order;
    order.reserve(std::size_t(height) * width);
    for (int top = 0; top < height; top += side)
        for (int left = 0; left < width; left += side)
            for (int y = top; y < std::min(top + side, height); ++y)
                for (int x = left; x < std::min(left + side, width); ++x)
                    order.push_back(std::uint32_t(y) * std::uint32_t(width) + std::uint32_t(x));
    return order;
}

/// Where pixels lie for a lattice: column, row and, with D = 5, red, green and blue.
template <int D>
struct Positions {
    const std::vector<std::uint32_t>& order;
    int width;
    Kernel kernel;
    const std::uint8_t* image;

    void operator()(std::size_t first, int count, float (&out)[D][BLOCK]) const {
        for (int p = 0; p < count; ++p) {
            const std::uint32_t at = order[first + p];
            out[0][p] = float(at % width) / kernel.deviation;
            out[1][p] = float(at / width) / kernel.deviation;
            for (int d = 2; d < D; ++d) out[d][p] = float(image[std::size_t(at) * 3 + d - 2]) / kernel.colour;
        }
    }

    std::array<float, D> corner(int x, int y, const std::array<std::uint8_t, 3>& colour) const {
        std::array<float, D> found{x / kernel.deviation, y / kernel.deviation};
        for (int d = 2; d < D; ++d) found[d] = colour[d - 2] / kernel.colour;
        return found;
    }
};

/// What depends on the size of an image alone: the smoothness kernel. Images of one size may share it.
struct Grid {
    Grid(int height, int width, Kernel kernel)
        : height(height), width(width), order(tiled(height, width)), lattice(build(kernel)) {
        lattice.normalise(kernel.cost);
    }

    Lattice<2> build(Kernel kernel) const {
        const Positions<2> positions{order, width, kernel, nullptr};
        return {order.size(), positions, positions.corner(0, 0, {}), positions.corner(width - 1, height - 1, {}),
                order.size() / 4};
    }

    const int height, width;
    const std::vector<std::uint32_t> order;
    Lattice<2> lattice;
};

class Field {
  public:
    /// ``image``: (height, width, 3) bytes.
    Field(const std::uint8_t* image, std::shared_ptr<const Grid> grid, Kernel kernel)
        : grid_(std::move(grid)), lattice_(build(image, kernel)) {
        lattice_.normalise(kernel.cost);
    }

    const Grid& grid() const { return *grid_; }
    const Lattice<5>& lattice() const { return lattice_; }

    /// Solves all problems, as many in one sweep as have few channels: each is worked on exactly as if it were alone.
    void infer(const std::vector<Problem>& problems, int iterations) const {
        std::vector<Problem> together;
        int channels = 0;
        for (Problem problem : problems) {
            problem.reference = reference(problem);
            if (channels && channels + problem.channels() > 16) {
                sweep(together, channels, iterations);
                together.clear();
                channels = 0;
            }
            together.push_back(problem);
            channels += problem.channels();
        }
        if (channels) sweep(together, channels, iterations);
    }

  private:
    /// The last label whose energies are nowhere those of another label throughout; -1 where all have a twin.
    int reference(const Problem& problem) const {
        const std::size_t pixels = grid_->order.size();
        const auto plane = [&](int label) { return problem.energies + pixels * label; };
        for (int chosen = problem.labels - 1; chosen >= 0; --chosen) {
            bool twin = false;
            for (int other = 0; other < problem.labels && !twin; ++other)
                twin = other != chosen && std::equal(plane(chosen), plane(chosen) + pixels, plane(other));
            if (!twin) return chosen;
        }
        return -1;
    }

    Lattice<5> build(const std::uint8_t* image, Kernel kernel) const {
        const std::size_t pixels = grid_->order.size();
        std::array<std::uint8_t, 3> least = {255, 255, 255}, most = {0, 0, 0};
        for (std::size_t i = 0; i < 3 * pixels; ++i) {
            least[i % 3] = std::min(least[i % 3], image[i]);
            most[i % 3] = std::max(most[i % 3], image[i]);
        }
        const Positions<5> positions{grid_->order, grid_->width, kernel, image};
        return {pixels, positions, positions.corner(0, 0, least),
                positions.corner(grid_->width - 1, grid_->height - 1, most), pixels};
    }

    void sweep(const std::vector<Problem>& problems, int channels, int iterations) const {
        if (channels == 1) return run<1>(problems, channels, iterations);
        if (channels == 2) return run<2>(problems, channels, iterations);
        if (channels <= 4) return run<4>(problems, channels, iterations);
        if (channels <= 8) return run<8>(problems, channels, iterations);
        if (channels <= 12) return run<12>(problems, channels, iterations);
        if (channels <= 16) return run<16>(problems, channels, iterations);
        if (channels <= 20) return run<20>(problems, channels, iterations);
        run<0>(problems, channels, iterations);
    }

    /// C channels, the last ones of which may be idle; 0: as many as there are.
    template <int C>
    void run(const std::vector<Problem>& problems, int channels, int iterations) const {
        const Lattice<2>& smooth = grid_->lattice;
        const int width = C ? C : channels;
        const std::size_t pixels = grid_->order.size(), blocks = (pixels + BLOCK - 1) / BLOCK;
        int labels = 0;
        for (const Problem& problem : problems) labels = std::max(labels, problem.labels);
        Buffer<float> gains = buffer<float>(blocks * BLOCK * channels);  // (blocks, channels, BLOCK)
        Buffer<float> near[2], alike[2];  // lattice values: read from one, written to the other
        for (int i = 0; i < 2; ++i) {
            near[i] = buffer<float>((smooth.points() + 1) * width);
            alike[i] = buffer<float>((lattice_.points() + 1) * width);
        }
        Buffer<float> rows = buffer<float>(std::size_t(BLOCK) * width);
        Buffer<float> logits = buffer<float>(std::size_t(BLOCK) * labels);
        for (int step = 0; step <= iterations; ++step) {
            const int from = step & 1, to = 1 - from;
            const bool last = step == iterations;
            if (step) {
                smooth.blur<C>(near[from].get(), width);
                lattice_.blur<C>(alike[from].get(), width);
            }
            for (std::size_t block = 0; block < blocks; ++block) {
                const std::size_t first = block * BLOCK;
                const int count = int(std::min<std::size_t>(BLOCK, pixels - first));
                std::fill_n(rows.get(), std::size_t(BLOCK) * width, 0.0f);
                if (step) {
                    smooth.slice<C>(first, count, near[from].get(), rows.get(), width);
                    lattice_.slice<C>(first, count, alike[from].get(), rows.get(), width);
                }
                int channel = 0;
                for (const Problem& problem : problems) {
                    float* gain = gains.get() + (block * channels + channel) * BLOCK;
                    if (!step) read(problem, first, count, gain);
                    softmax(problem, gain, rows.get() + channel, width, logits.get());
                    if (last)
                        write(problem, first, count, logits.get());
                    else
                        deviate(problem, logits.get(), rows.get() + channel, width);
                    channel += problem.channels();
                }
                if (!last) {
                    smooth.clear(block, near[to].get(), width);
                    smooth.splat<C>(first, count, rows.get(), near[to].get(), width);
                    lattice_.clear(block, alike[to].get(), width);
                    lattice_.splat<C>(first, count, rows.get(), alike[to].get(), width);
                }
            }
        }
    }

    /// The reference's energy, or none, less that of each label that is carried: (channels, BLOCK).
    void read(const Problem& problem, std::size_t first, int count, float* gain) const {
        const std::size_t pixels = grid_->order.size();
        const float* reference = problem.reference < 0 ? nullptr : problem.energies + pixels * problem.reference;
        for (int c = 0; c < problem.channels(); ++c) {
            const float* plane = problem.energies + pixels * problem.label(c);
            for (int p = 0; p < BLOCK; ++p) {
                const std::uint32_t at = grid_->order[first + std::min(p, count - 1)];
                gain[c * BLOCK + p] = (reference ? reference[at] : 0.0f) - plane[at];
            }
        }
    }

    /// Probabilities (labels, BLOCK) from the gains and the messages K q, which stand in ``rows``, (BLOCK, stride).
    static void softmax(const Problem& problem, const float* __restrict gain, const float* __restrict rows, int stride,
                        float* __restrict found) {
        float rest[BLOCK] = {}, largest[BLOCK], sum[BLOCK] = {};
        for (int c = 0; c < problem.channels(); ++c) {
            float* __restrict logit = found + problem.label(c) * BLOCK;
            for (int p = 0; p < BLOCK; ++p) {
                const float message = rows[p * stride + c];
                logit[p] = gain[c * BLOCK + p] + message;
                rest[p] -= message;
            }
        }
        if (problem.reference >= 0) std::copy(rest, rest + BLOCK, found + problem.reference * BLOCK);
        std::copy(found, found + BLOCK, largest);
        for (int c = 1; c < problem.labels; ++c)
            for (int p = 0; p < BLOCK; ++p)
                largest[p] = found[c * BLOCK + p] > largest[p] ? found[c * BLOCK + p] : largest[p];
        for (int c = 0; c < problem.labels; ++c) exponentiate(found + c * BLOCK, largest, sum);
        for (int p = 0; p < BLOCK; ++p) sum[p] = 1.0f / sum[p];
        for (int c = 0; c < problem.labels; ++c)
            for (int p = 0; p < BLOCK; ++p) found[c * BLOCK + p] *= sum[p];
    }

    static void deviate(const Problem& problem, const float* __restrict found, float* __restrict rows, int stride) {
        const float even = 1.0f / float(problem.labels);
        for (int c = 0; c < problem.channels(); ++c) {
            const float* __restrict one = found + problem.label(c) * BLOCK;
            for (int p = 0; p < BLOCK; ++p) rows[p * stride + c] = one[p] - even;
        }
    }

    void write(const Problem& problem, std::size_t first, int count, const float* found) const {
        const std::size_t pixels = grid_->order.size();
        for (int c = 0; c < problem.labels; ++c) {
            float* plane = problem.probabilities + pixels * c;
            for (int p = 0; p < count; ++p) plane[grid_->order[first + p]] = found[c * BLOCK + p];
        }
    }

    /// A function of its own, never inlined: only so does the compiler know that nothing overlaps, and uses vectors.
    __attribute__((noinline)) static void exponentiate(float* __restrict found, const float* __restrict largest,
                                                       float* __restrict sum) {
        for (int p = 0; p < BLOCK; ++p) {
            const float one = exponential(found[p] - largest[p]);
            found[p] = one;
            sum[p] += one;
        }
    }

    /// exp(x) for x <= 0, to 2e-7 of its value: 2^n times the Taylor sum of degree 6 on [-ln 2 / 2, ln 2 / 2].
    static float exponential(float x) {
        constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds, and leaves n in the lowest bits
        x = x > -87.0f ? x : -87.0f;
        const float shifted = x * 1.44269504f + magic, n = shifted - magic;
        const float rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
        float sum = 1.3888889e-3f;
        sum = sum * rest + 8.3333333e-3f;
        sum = sum * rest + 4.1666667e-2f;
        sum = sum * rest + 1.6666667e-1f;
        sum = sum * rest + 0.5f;
        sum = sum * rest + 1.0f;
        sum = sum * rest + 1.0f;
        std::uint32_t bits;
        std::memcpy(&bits, &shifted, sizeof bits);
        bits = (bits << 23) + 0x3F800000u;
        float power;
        std::memcpy(&power, &bits, sizeof power);
        return sum * power;
    }

    std::shared_ptr<const Grid> grid_;
    Lattice<5> lattice_;
};

}  // namespace wsss
