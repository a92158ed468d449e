// Threads that share out the jobs of a phase.
//
// A step is a row of phases, and a phase is a number of jobs that need nothing of each other. The
// threads take jobs one by one until none is left; what a job computes does not depend on who does
// it or when. So a thread that the system has put to sleep delays only the job that it holds: the
// others take the rest.
#pragma once

#include <stdint.h>

#include <atomic>
#include <memory>
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
  explicit Team(int threads) {
    try {
      for (int thread = 1; thread < threads; ++thread) {
        threads_.emplace_back([this, thread] { help(thread); });
      }
    } catch (const std::system_error&) {
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
    jobs_ = jobs;
    unfinished_.store(jobs, std::memory_order_relaxed);
    phase_ += uint64_t{1} << kCountBits;
    // Whoever takes a job from this ticket sees what was written above.
    ticket_.store(phase_ + static_cast<uint64_t>(jobs), std::memory_order_release);
    while (take_one(0)) {
    }
    Patience patience;
    while (unfinished_.load(std::memory_order_acquire) != 0) patience.wait();
  }

  // Takes a job if one is left, and does it.
  bool take_one(int thread) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    do {
      if ((ticket & kCountMask) == 0) return false;
    } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                            std::memory_order_acquire));
    // The phase cannot end before this job is counted as done, so what belongs to it stands.
    work_(context_, jobs_ - static_cast<int64_t>(ticket & kCountMask), thread);
    unfinished_.fetch_sub(1, std::memory_order_acq_rel);
    return true;
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

  std::vector<std::thread> threads_;
  std::atomic<bool> ended_{false};
  uint64_t phase_ = 0;
  // Of the current phase:
  Work work_ = nullptr;
  const void* context_ = nullptr;
  int64_t jobs_ = 0;
  // The phase's number above, how many jobs nobody has taken below: a ticket read in one phase
  // never fits another.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> unfinished_{0};
};

}  // namespace tenfold
