// Arrays aligned to cache lines; large ones use huge pages.
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
#if defined(__SANITIZE_ADDRESS__)  // GCC
#define TENFOLD_FENCED
#elif defined(__has_feature)  // Clang
#if __has_feature(address_sanitizer)
#define TENFOLD_FENCED
#endif
#endif
#if defined(TENFOLD_FENCED)
#include <sanitizer/asan_interface.h>
#endif

namespace tenfold {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{1} << 21;

// With AddressSanitizer, memory behind an array is out of bounds. Maps of a network then share no
// memory, and the gaps between them are out of bounds too.
#if defined(TENFOLD_FENCED)
constexpr bool kIsFenced = true;
inline void forbid(const void* begin, size_t size) { __asan_poison_memory_region(begin, size); }
#else
constexpr bool kIsFenced = false;
inline void forbid(const void* /*begin*/, size_t /*size*/) {}
#endif

// Asks the system to move memory into huge pages; it may decline. In a large array with ordinary
// pages, address lookups cost as much as the reads.
inline void use_huge_pages(void* begin, size_t size) {
#if defined(__linux__)
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, since Linux 6.1: moves existing contents at once
  const size_t skipped = (0 - reinterpret_cast<uintptr_t>(begin)) % kHugePage;
  if (size < skipped + kHugePage) return;
  char* const pages = static_cast<char*>(begin) + skipped;
  const size_t whole = (size - skipped) / kHugePage * kHugePage;
  madvise(pages, whole, MADV_HUGEPAGE);
  madvise(pages, whole, kCollapse);
#else
  (void)begin;
  (void)size;
#endif
}

// A zero-initialized array. Throws std::bad_alloc.
template <typename Number>
class Array {
 public:
  Array() = default;
  explicit Array(int64_t count) : count_(count) {
    if (count < 0 || count > PTRDIFF_MAX / int64_t{sizeof(Number)}) throw std::bad_alloc();
    const size_t bytes = static_cast<size_t>(count) * sizeof(Number);
    const size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
    const size_t size = (bytes / alignment + 1) * alignment;
    if (size < bytes) throw std::bad_alloc();
    data_ = static_cast<Number*>(::operator new(size, std::align_val_t(alignment)));
    alignment_ = alignment;
#if defined(__linux__)
    if (alignment == kHugePage) madvise(data_, size, MADV_HUGEPAGE);
#endif
    memset(static_cast<void*>(data_), 0, size);
    forbid(data_ + count, size - bytes);
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
