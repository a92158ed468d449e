// Opens a library as Python does and prints whether it runs here, and its digest.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: ask LIBRARY\n");
    return 2;
  }
  void* library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  using RunsHere = int32_t (*)();
  using Digest = const char* (*)();
  const auto runs_here = reinterpret_cast<RunsHere>(dlsym(library, "tenfold_runs_here"));
  const auto digest = reinterpret_cast<Digest>(dlsym(library, "tenfold_source_digest"));
  std::printf("%d %s\n", runs_here(), digest());
}
