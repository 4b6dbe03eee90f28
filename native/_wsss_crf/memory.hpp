// Buffers that are written before they are read, so nothing clears them beforehand.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace wsss {

struct Free {
    void operator()(void* data) const { std::free(data); }
};

template <typename T>
using Buffer = std::unique_ptr<T[], Free>;

/// ``count`` values, aligned to cache lines. Large buffers ask for huge pages: what is read at scattered places then
/// needs 512 times fewer entries of the processor's address cache.
template <typename T>
Buffer<T> buffer(std::size_t count) {
    constexpr std::size_t line = 64, huge = std::size_t(1) << 21;
    const std::size_t unit = count * sizeof(T) < 2 * huge ? line : huge;
    const std::size_t bytes = (count * sizeof(T) / unit + 1) * unit;
    void* data = std::aligned_alloc(unit, bytes);
    if (!data) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (unit == huge) madvise(data, bytes, MADV_HUGEPAGE);
#endif
    return Buffer<T>(static_cast<T*>(data));
}

}  // namespace wsss
