/* What every kernel file shares: the interface is flat C, the caller owns all memory, nothing is allocated or thrown. */
#ifndef WEIGH_KERNELS_H
#define WEIGH_KERNELS_H

#include <stdint.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* One function compiled for several instruction sets; the loader of the system picks one. It needs indirect functions,
 * which GCC makes for glibc; elsewhere the function is compiled once. */
#if defined(CLONED)
/* The compiler's options say. */
#elif defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define CLONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONED
#endif

/* Stages written with the instructions of AVX-512 stand beside a plain form; which runs is asked at run time. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(WITHOUT_AVX512)
#define WITH_AVX512
static inline int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

/* A function of its own would be compiled for the oldest instruction set only. */
#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Counts of 16-bit patterns: of numbers of 2 bytes in `pairs[65536]`; of numbers of 4 bytes the first two bytes there and
 * the last two in the 65,536 counters behind. One increment takes about 1.5 cycles whatever it counts, so two planes are
 * counted at once; the counters still lie in a core's own cache. `count` is a multiple of 4, or of 2. */
INLINE void count_pairs_2(const uint8_t *raw, int64_t count, uint32_t *pairs)
{
    for (int64_t i = 0; i < count; i += 4) {
        uint64_t word;
        memcpy(&word, raw + 2 * i, 8);
        pairs[word & 0xffff]++;
        pairs[word >> 16 & 0xffff]++;
        pairs[word >> 32 & 0xffff]++;
        pairs[word >> 48]++;
    }
}

INLINE void count_pairs_4(const uint8_t *raw, int64_t count, uint32_t *pairs)
{
    for (int64_t i = 0; i < count; i += 2) {
        uint64_t word;
        memcpy(&word, raw + 4 * i, 8);
        pairs[word & 0xffff]++;
        pairs[65536 + (word >> 16 & 0xffff)]++;
        pairs[word >> 32 & 0xffff]++;
        pairs[65536 + (word >> 48)]++;
    }
}

#endif
