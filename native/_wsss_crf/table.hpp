// Lattice coordinates to consecutive numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.hpp"

namespace wsss {

__extension__ typedef unsigned __int128 Wide;

/// Open addressing with linear probing, half full at most. ``Key``: std::uint64_t or Wide; keys are smaller than
/// 2^63 (2^127). Numbers are given in the order of the first insertion.
template <typename Key>
class Table {
  public:
    static constexpr std::uint32_t NONE = ~std::uint32_t(0);

    explicit Table(std::size_t expected) {
        while ((std::size_t(1) << bits_) < expected) ++bits_;
        allocate();
    }

    /// Makes room for so many new keys. What ``place`` said before is void afterwards.
    void reserve(std::size_t more) {
        while ((keys_.size() + more) * 2 > mask() + 1) {
            ++bits_;
            allocate();
            for (std::uint32_t i = 0; i < keys_.size(); ++i) {
                std::size_t at = place(keys_[i]);
                while (slots_[at].key != EMPTY) at = (at + 1) & mask();
                slots_[at] = {keys_[i], i};
            }
        }
    }

    /// Where the search for a key starts; fetched from memory ahead of its use.
    std::size_t place(Key key) const {
        std::uint64_t folded = std::uint64_t(key);
        if constexpr (sizeof(Key) > 8) folded ^= std::uint64_t(key >> 64) * 0xD6E8FEB86659FD93u;
        const std::size_t at = (folded * 0x9E3779B97F4A7C15u) >> (64 - bits_);
        __builtin_prefetch(&slots_[at]);
        return at;
    }

    /// The number of a key, a new one where it was not there.
    std::uint32_t insert(Key key, std::size_t at) {
        while (slots_[at].key != key) {
            if (slots_[at].key == EMPTY) {
                slots_[at] = {key, std::uint32_t(keys_.size())};
                keys_.push_back(key);
                break;
            }
            at = (at + 1) & mask();
        }
        return slots_[at].number;
    }

    /// The number of a key, or NONE.
    std::uint32_t find(Key key, std::size_t at) const {
        while (slots_[at].key != key) {
            if (slots_[at].key == EMPTY) return NONE;
            at = (at + 1) & mask();
        }
        return slots_[at].number;
    }

    /// Keys by number.
    const std::vector<Key>& keys() const { return keys_; }

  private:
    static constexpr Key EMPTY = ~Key(0);

    struct Slot {
        Key key;
        std::uint32_t number;
    };

    std::size_t mask() const { return (std::size_t(1) << bits_) - 1; }

    void allocate() {
        slots_ = buffer<Slot>(mask() + 1);
        for (std::size_t i = 0; i <= mask(); ++i) slots_[i].key = EMPTY;
    }

    int bits_ = 10;
    Buffer<Slot> slots_;
    std::vector<Key> keys_;
};

}  // namespace wsss
