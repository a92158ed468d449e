// Memory for numbers: aligned to cache lines, from huge pages where it is large.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tenfold {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{1} << 21;

// An array of numbers, zero at first. Throws std::bad_alloc.
template <typename Number>
class Array {
 public:
  Array() = default;
  explicit Array(int64_t count) : count_(count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(Number);
    // Walking through a large array in ordinary pages costs as much in looking up addresses as in
    // reading.
    const size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
    const size_t size = (bytes / alignment + 1) * alignment;
    if (size < bytes) throw std::bad_alloc();
    data_ = static_cast<Number*>(::operator new(size, std::align_val_t(alignment)));
    alignment_ = alignment;
#if defined(__linux__)
    if (alignment == kHugePage) madvise(data_, size, MADV_HUGEPAGE);
#endif
    memset(static_cast<void*>(data_), 0, size);
  }
  ~Array() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t(alignment_));
  }
  Array(Array&& other) noexcept { *this = std::move(other); }
  Array& operator=(Array&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    std::swap(alignment_, other.alignment_);
    return *this;
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  Number* data() const { return data_; }
  int64_t count() const { return count_; }
  Number& operator[](int64_t place) const { return data_[place]; }

 private:
  Number* data_ = nullptr;
  int64_t count_ = 0;
  size_t alignment_ = kCacheLine;
};

}  // namespace tenfold
