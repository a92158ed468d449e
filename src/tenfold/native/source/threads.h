// Threads that share out the jobs of a phase.
//
// A step is a row of phases, and a phase is a number of jobs that need nothing of each other. Each
// thread has a share of a phase's jobs, so that it meets in its cache what it worked on in the
// phase before; it takes them one by one, and then those that others have not come to. What a job
// computes does not depend on who does it or when, and a thread that the system has put to sleep
// delays only the job that it holds.
#pragma once

#include <stdint.h>

#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "simd.h"

namespace tenfold {

class Team {
 public:
  // A job's work: `(context, job, thread)`, with the thread's number for scratch memory.
  using Work = void (*)(const void* context, int64_t job, int thread);

  // Starts `threads - 1` threads beside the calling one; where the system refuses some, there are
  // fewer, and the results are the same.
  explicit Team(int threads) : shares_(static_cast<size_t>(threads)) {
    threads_.reserve(static_cast<size_t>(threads) - 1);
    try {
      for (int thread = 1; thread < threads; ++thread) {
        threads_.emplace_back([this, thread] { help(thread); });
      }
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
  }
  ~Team() {
    ended_.store(true, std::memory_order_release);
    for (std::thread& thread : threads_) thread.join();
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Does jobs 0..jobs-1 and returns when all are done. `work` is called as `(job, thread)`.
  template <typename Function>
  void run(int64_t jobs, const Function& work) {
    run(
        jobs,
        [](const void* context, int64_t job, int thread) {
          (*static_cast<const Function*>(context))(job, thread);
        },
        &work);
  }

 private:
  void run(int64_t jobs, Work work, const void* context) {
    if (threads_.empty() || jobs < 2) {
      for (int64_t job = 0; job < jobs; ++job) work(context, job, 0);
      return;
    }
    work_ = work;
    context_ = context;
    unfinished_.store(jobs, std::memory_order_relaxed);
    phase_ += uint64_t{1} << kCountBits;
    const auto shares = static_cast<int64_t>(shares_.size());
    for (int64_t i = 0; i < shares; ++i) {
      Share& share = shares_[static_cast<size_t>(i)];
      const int64_t begin = jobs * i / shares;
      share.end = jobs * (i + 1) / shares;
      // Whoever takes a job from this ticket sees what was written above.
      share.ticket.store(phase_ + static_cast<uint64_t>(share.end - begin),
                         std::memory_order_release);
    }
    while (take_one(0)) {
    }
    Patience patience;
    while (unfinished_.load(std::memory_order_acquire) != 0) patience.wait();
  }

  // Some of a phase's jobs: those before `end` that nobody has taken. The ticket has the phase's
  // number above and how many are left below, so one read in a phase never fits another.
  struct alignas(64) Share {
    std::atomic<uint64_t> ticket{0};
    int64_t end = 0;
  };

  // Takes a job if one is left, and does it.
  bool take_one(int thread) {
    for (size_t i = 0; i < shares_.size(); ++i) {
      Share& share = shares_[(static_cast<size_t>(thread) + i) % shares_.size()];
      uint64_t ticket = share.ticket.load(std::memory_order_acquire);
      while ((ticket & kCountMask) != 0) {
        if (!share.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                                std::memory_order_acquire)) {
          continue;
        }
        // The phase cannot end before this job is counted as done, so what belongs to it stands.
        work_(context_, share.end - static_cast<int64_t>(ticket & kCountMask), thread);
        unfinished_.fetch_sub(1, std::memory_order_acq_rel);
        return true;
      }
    }
    return false;
  }

  void help(int thread) {
    const PlainArithmetic plain;
    Patience patience;
    while (!ended_.load(std::memory_order_acquire)) {
      if (take_one(thread)) {
        patience = Patience();
      } else {
        patience.wait();
      }
    }
  }

  // Waits a little longer than a phase lasts, then lets others have the processor.
  class Patience {
   public:
    void wait() {
      if (++turns_ < kTurns) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }

   private:
    static constexpr int kTurns = 2000;
    int turns_ = 0;
  };

  static constexpr int kCountBits = 32;
  static constexpr uint64_t kCountMask = (uint64_t{1} << kCountBits) - 1;

  std::vector<Share> shares_;
  std::vector<std::thread> threads_;
  std::atomic<bool> ended_{false};
  uint64_t phase_ = 0;
  // Of the current phase:
  Work work_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<int64_t> unfinished_{0};
};

}  // namespace tenfold
