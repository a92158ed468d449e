// Threads that share the jobs of a phase.
//
// A step is a sequence of phases, and a phase is a number of independent jobs. Each thread has its
// own share of a phase's jobs, so that its cache holds what it worked on in the previous phase. It
// takes its jobs one by one, then helps with those of other threads. A job's result does not depend
// on which thread runs it or when, and a thread that the system suspends delays only its current
// job.
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

  // Jobs 0..jobs-1 of the same kind. Each thread gets an equal share of every task in a phase, and
  // of equal tasks in all phases, the same jobs.
  struct Task {
    Work work;
    const void* context;
    int64_t jobs;
  };

  // Starts `threads - 1` threads besides the calling one. If the system refuses some, there are
  // fewer, with the same results.
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

  // Runs jobs 0..jobs-1 and returns when all are done. `work` is called as `(job, thread)`.
  template <typename Function>
  void run(int64_t jobs, const Function& work) {
    const Task task{[](const void* context, int64_t job, int thread) {
                      (*static_cast<const Function*>(context))(job, thread);
                    },
                    &work, jobs};
    run(&task, 1);
  }

  // Runs all jobs of `count` tasks, which are independent of one another.
  void run(const Task* tasks, int count) {
    int64_t jobs = 0;
    for (const Task* task = tasks; task != tasks + count; ++task) jobs += task->jobs;
    if (threads_.empty() || jobs < 2) {
      for (const Task* task = tasks; task != tasks + count; ++task) {
        for (int64_t job = 0; job < task->jobs; ++job) task->work(task->context, job, 0);
      }
      return;
    }
    unfinished_.store(jobs, std::memory_order_relaxed);
    phase_ += uint64_t{1} << kCountBits;
    for (size_t i = 0; i < shares_.size(); ++i) {
      Share& share = shares_[i];
      share.tasks = tasks;
      share.size = 0;
      for (const Task* task = tasks; task != tasks + count; ++task) {
        share.size += begin_of(*task, i + 1) - begin_of(*task, i);
      }
      // A thread that takes a job from this ticket sees everything written above.
      share.ticket.store(phase_ + static_cast<uint64_t>(share.size), std::memory_order_release);
    }
    take_jobs(0);
    Patience patience;
    while (unfinished_.load(std::memory_order_acquire) != 0) patience.wait();
  }

 private:
  // Processors fetch cache lines in pairs.
  static constexpr size_t kApart = 128;

  // A thread's share of a phase's jobs. The ticket has the phase's number in its high bits and the
  // number of jobs left, the last ones, in its low bits, so a ticket read in one phase is never
  // valid in another.
  struct alignas(kApart) Share {
    std::atomic<uint64_t> ticket{0};
    int64_t size = 0;
    const Task* tasks = nullptr;
  };

  // A task's first job in a share. The first thread, which also runs phases of one job, gets the
  // odd one.
  int64_t begin_of(const Task& task, size_t share) const {
    const auto shares = static_cast<int64_t>(shares_.size());
    return (task.jobs * static_cast<int64_t>(share) + shares - 1) / shares;
  }

  // Takes jobs and runs them until none is left.
  void take_jobs(int thread) {
    for (size_t i = 0; i < shares_.size(); ++i) {
      const int64_t done = take_jobs_of((static_cast<size_t>(thread) + i) % shares_.size(), thread);
      if (done > 0) unfinished_.fetch_sub(done, std::memory_order_acq_rel);
    }
  }

  // Takes jobs of a share until none is left, and returns their number. The phase cannot end before
  // they are counted as done, so its data stays valid.
  int64_t take_jobs_of(size_t place, int thread) {
    Share& share = shares_[place];
    const Task* task = nullptr;  // of the current job
    int64_t before = 0;          // the share's jobs of earlier tasks
    int64_t begin = 0;           // the share's jobs of this task, like the next
    int64_t end = 0;
    int64_t done = 0;
    uint64_t ticket = share.ticket.load(std::memory_order_acquire);
    while ((ticket & kCountMask) != 0) {
      if (!share.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                              std::memory_order_acquire)) {
        continue;
      }
      const int64_t job = share.size - static_cast<int64_t>(ticket & kCountMask);
      while (job - before >= end - begin) {
        before += end - begin;
        task = task == nullptr ? share.tasks : task + 1;
        begin = begin_of(*task, place);
        end = begin_of(*task, place + 1);
      }
      task->work(task->context, begin + job - before, thread);
      ++done;
      --ticket;
    }
    return done;
  }

  // Waits for each phase at the thread's own share: reading others' would slow them down.
  void help(int thread) {
    const PlainArithmetic plain;
    const Share& own = shares_[static_cast<size_t>(thread)];
    uint64_t seen = 0;
    Patience patience;
    while (!ended_.load(std::memory_order_acquire)) {
      const uint64_t phase = own.ticket.load(std::memory_order_acquire) & ~kCountMask;
      if (phase == seen) {
        patience.wait();
        continue;
      }
      seen = phase;
      take_jobs(thread);
      patience = Patience();
    }
  }

  // Spins a little longer than a phase takes, then yields the processor.
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
  alignas(kApart) uint64_t phase_ = 0;
  alignas(kApart) std::atomic<int64_t> unfinished_{0};
};

}  // namespace tenfold
