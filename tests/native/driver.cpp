// Tests a library through its C interface, with random networks and a slow reference.
//
//     driver --library kernels-avx2.so --seed 1 --cases 1000
//
// Case n of a seed is case 0 of seed + n, so a failure can be repeated with the printed seed and
// --cases 1.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "digests.h"
#include "fuzzing.h"
#include "library.h"
#include "refusals.h"
#include "steps.h"

namespace {

constexpr const char* kUsage =
    "usage: driver [--library PATH] [MODE] [--seed N] [--cases N | --seconds N] [--verbose]\n"
    "  (no mode)          compare random trainings with the reference, and with themselves\n"
    "  --lists            check that mutated lists are accepted or refused correctly\n"
    "  --large            check that networks that are too large are refused\n"
    "  --arguments        check that wrong arguments of a training are refused\n"
    "  --company          run two trainings at once, and one in a forked process\n"
    "  --digest           print digests of networks after --steps N, and of --cases N\n"
    "  --check-reference  compare the reference with finite differences\n";

struct Options {
  std::string library;
  std::string mode = "--cases";
  uint64_t seed = 0;
  int64_t cases = 0;
  int64_t seconds = 0;
  int64_t steps = 100;
  int32_t threads = 2;
  bool verbose = false;
};

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "driver: %s\n%s", what.c_str(), kUsage);
  std::exit(2);
}

int64_t number_of(const std::string& option, const char* text) {
  char* end = nullptr;
  const long long number = text == nullptr ? 0 : std::strtoll(text, &end, 10);
  if (text == nullptr || end == text || *end != '\0' || number < 0) {
    refuse(option + " needs a non-negative integer");
  }
  return number;
}

Options read_options(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string option = arguments[i];
    const bool is_mode = option == "--lists" || option == "--large" || option == "--arguments" ||
                         option == "--company" || option == "--digest" ||
                         option == "--check-reference";
    if (is_mode) {
      options.mode = option;
      continue;
    }
    if (option == "--verbose") {
      options.verbose = true;
      continue;
    }
    const char* value = i + 1 < count ? arguments[++i] : nullptr;
    if (option == "--library" && value != nullptr) {
      options.library = value;
    } else if (option == "--seed") {
      options.seed = static_cast<uint64_t>(number_of(option, value));
    } else if (option == "--cases") {
      options.cases = number_of(option, value);
    } else if (option == "--seconds") {
      options.seconds = number_of(option, value);
    } else if (option == "--steps") {
      options.steps = number_of(option, value);
    } else if (option == "--threads") {
      options.threads = static_cast<int32_t>(number_of(option, value));
    } else {
      refuse("unknown option " + option);
    }
  }
  if (options.cases == 0 && options.seconds == 0) options.cases = 1;
  return options;
}

// ---- Reporting crashes --------------------------------------------------------------------------

char current[64];
struct sigaction before[NSIG];

// Prints the current case, then passes the signal to the previous handler.
void say_current(int signal) {
  const ssize_t written = write(STDERR_FILENO, current, std::strlen(current));
  static_cast<void>(written);
  sigaction(signal, &before[signal], nullptr);
  if (signal == SIGABRT) raise(signal);
}

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = say_current;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    sigaction(signal, &action, &before[signal]);
  }
}

// ---- Modes --------------------------------------------------------------------------------------

// Calls `check` with consecutive seeds until one fails; returns how many passed.
int64_t for_seeds(const Options& options, const std::function<std::string(uint64_t)>& check,
                  bool& failed) {
  const auto begin = std::chrono::steady_clock::now();
  const auto is_over = [&](int64_t done) {
    if (options.seconds == 0) return done >= options.cases;
    return std::chrono::steady_clock::now() - begin >= std::chrono::seconds(options.seconds);
  };
  int64_t done = 0;
  for (; !is_over(done); ++done) {
    const uint64_t seed = options.seed + static_cast<uint64_t>(done);
    std::snprintf(current, sizeof current, "died in the case of --seed %llu\n",
                  static_cast<unsigned long long>(seed));
    const std::string wrong = check(seed);
    if (wrong.empty()) continue;
    std::fprintf(stderr, "--seed %llu: %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
    failed = true;
    break;
  }
  return done;
}

int run_cases(const Library& library, const Options& options) {
  Tally tally;
  bool failed = false;
  const int64_t done = for_seeds(
      options,
      [&](uint64_t seed) {
        const Case drawn = random_case(seed);
        if (options.verbose)
          std::fprintf(stderr, "--seed %llu\n%s", static_cast<unsigned long long>(seed),
                       text_of(drawn).c_str());
        const std::string wrong = check_case(library, drawn, tally);
        return wrong.empty() ? wrong : wrong + "\n" + text_of(drawn);
      },
      failed);
  std::printf("%lld cases, %lld steps (%lld undecided), %lld exact predictions, %lld numbers\n",
              static_cast<long long>(done), static_cast<long long>(tally.steps),
              static_cast<long long>(tally.undecided), static_cast<long long>(tally.exact),
              static_cast<long long>(tally.numbers));
  for (const auto& [kind, closest] : tally.closest) {
    if (options.verbose) std::printf("  %s: %.3f of the tolerance\n", kind.c_str(), closest);
  }
  if (failed) return 1;
  // If hardly any steps could be compared, little has been tested.
  if (tally.steps >= 20 && 2 * tally.undecided > tally.steps) {
    std::fprintf(stderr, "--seed %llu: more than half of the steps could not be compared\n",
                 static_cast<unsigned long long>(options.seed));
    return 1;
  }
  return 0;
}

int run_lists(const Library& library, const Options& options) {
  bool failed = false;
  const int64_t done = for_seeds(
      options, [&](uint64_t seed) { return check_changed_list(library, seed); }, failed);
  std::printf("%lld mutated lists\n", static_cast<long long>(done));
  return failed ? 1 : 0;
}

int run_company(const Library& library, const Options& options) {
  bool failed = false;
  const int64_t done = for_seeds(
      options, [&](uint64_t seed) { return check_company(library, seed); }, failed);
  std::printf("%lld pairs of trainings\n", static_cast<long long>(done));
  return failed ? 1 : 0;
}

// Prints what is wrong, if anything.
int say(const std::string& wrong) {
  std::fprintf(stderr, "%s", wrong.c_str());
  return wrong.empty() ? 0 : 1;
}

int run_digest(const Library& library, const Options& options) {
  const auto print = [](const std::vector<Digest>& digests) {
    for (const Digest& digest : digests) {
      std::printf("%s %016llx\n", digest.name.c_str(),
                  static_cast<unsigned long long>(digest.value));
    }
  };
  print(digests_of_networks(library, options.seed, options.steps, options.threads));
  print(digests_of_cases(library, options.seed, options.cases, options.threads));
  return 0;
}

int run_check_reference(const Options& options) {
  bool failed = false;
  int64_t compared = 0;
  const int64_t done = for_seeds(
      options, [&](uint64_t seed) { return check_reference(seed, compared); }, failed);
  std::printf("%lld cases, %lld gradients\n", static_cast<long long>(done),
              static_cast<long long>(compared));
  return failed ? 1 : 0;
}

int run(const Options& options) {
  if (options.mode == "--check-reference") return run_check_reference(options);
  const Library library = open_library(options.library);
  if (library.runs_here() != 1) {
    std::fprintf(stderr, "this processor cannot run the library\n");
    return 3;
  }
  if (options.mode == "--lists") return run_lists(library, options);
  if (options.mode == "--large") return say(check_large_networks(library));
  if (options.mode == "--arguments") return say(check_wrong_arguments(library));
  if (options.mode == "--company") return run_company(library, options);
  if (options.mode == "--digest") return run_digest(library, options);
  return run_cases(library, options);
}

}  // namespace

int main(int count, char** arguments) {
  const Options options = read_options(count, arguments);
  watch_signals();
  return run(options);
}
