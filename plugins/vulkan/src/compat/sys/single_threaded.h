// libstdc++ 11 and newer include this header where it exists; glibc has it only from 2.32 on and the plugin
// is built against 2.28. Saying "never single-threaded" keeps its reference counts atomic: always right.
#pragma once
static constexpr bool __libc_single_threaded = false;
