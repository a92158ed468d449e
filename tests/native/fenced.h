// Arrays whose bounds the hardware enforces.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

// An array between two inaccessible pages. It borders on the last of them or, with `at_front`, on
// the first; the rest of its own pages has a fill pattern that must not change. An array of size 0
// has a valid address too.
template <typename T>
class Fenced {
 public:
  Fenced() = default;

  explicit Fenced(size_t size, bool at_front = false) : size_(size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    room_ = (bytes() + page) / page * page;
    pages_ = page + room_ + page;
    void* base = mmap(nullptr, pages_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) fail("mmap");
    base_ = static_cast<uint8_t*>(base);
    own_ = base_ + page;
    protect(PROT_READ | PROT_WRITE);
    std::memset(own_, kFilling, room_);
    data_ = reinterpret_cast<T*>(at_front ? own_ : own_ + room_ - bytes());
  }

  explicit Fenced(const std::vector<T>& values, bool at_front = false)
      : Fenced(values.size(), at_front) {
    if (!values.empty()) std::memcpy(data_, values.data(), bytes());
  }

  Fenced(Fenced&& other) noexcept { swap(other); }
  Fenced& operator=(Fenced&& other) noexcept {
    swap(other);
    return *this;
  }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  ~Fenced() {
    if (base_ != nullptr) munmap(base_, pages_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  std::vector<T> copy() const { return std::vector<T>(data_, data_ + size_); }

  // From now on, writing to the array crashes.
  void freeze() { protect(PROT_READ); }

  // Whether the rest of its pages is unchanged.
  bool untouched_around() const {
    const uint8_t* begin = reinterpret_cast<const uint8_t*>(data_);
    for (const uint8_t* at = own_; at < own_ + room_; ++at) {
      if (at == begin) at += bytes();
      if (at < own_ + room_ && *at != kFilling) return false;
    }
    return true;
  }

 private:
  static constexpr uint8_t kFilling = 0xA5;

  [[noreturn]] static void fail(const char* what) {
    std::perror(what);
    std::abort();
  }

  void protect(int how) {
    if (base_ != nullptr && mprotect(own_, room_, how) != 0) fail("mprotect");
  }

  void swap(Fenced& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(room_, other.room_);
    std::swap(pages_, other.pages_);
    std::swap(base_, other.base_);
    std::swap(own_, other.own_);
    std::swap(data_, other.data_);
  }

  size_t size_ = 0, room_ = 0, pages_ = 0;
  uint8_t* base_ = nullptr;
  uint8_t* own_ = nullptr;
  T* data_ = nullptr;
};
