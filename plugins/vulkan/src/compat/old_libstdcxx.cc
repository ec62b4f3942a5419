// Symbols that libstdc++ 11+ headers call and an older libstdc++.so.6 lacks, defined inside the plugin so that
// it loads beside GCC 9's library (GLIBCXX_3.4.28, the one that ships with glibc 2.31).
#include <new>

namespace std {
[[noreturn]] __attribute__((visibility("hidden"))) void __throw_bad_array_new_length() { throw bad_array_new_length(); }
}  // namespace std
