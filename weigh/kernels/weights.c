/* What a run of values says: moments, extremes, zeros, and the error that rounding to fewer bits would make.
 * The twin is `weights.py`: it says what each number means. Here is how it is made fast.
 *
 * Values are taken in tiles that stay in the first-level cache (`weights_tiles.h`, `weights_scan.h`). The stages of a tile
 * that cost most are extremes, rounding and moments, in plain C and for AVX-512; `weights_scales.h` is between the two.
 * Compile with -ffp-contract=off: the reference of q4_0 rounds a product before it adds 8.5. */

#include "weights_plain.h"
#include "weights_scales.h"
#include "weights_tiles.h"

#define SCAN scan_plain
#define EXTREMES block_extremes_plain
#define ROUND round_blocks_plain
#define POWERS powers_plain
#include "weights_scan.h"
#undef SCAN
#undef EXTREMES
#undef ROUND
#undef POWERS

CLONED static int64_t scan_any(const uint8_t *raw, int kind, int64_t count, int64_t row, int with_moments, Sums *sums,
                               float *maxima, uint32_t *pairs)
{
    return scan_plain(raw, kind, count, row, with_moments, sums, maxima, pairs);
}

#ifdef WITH_AVX512
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#include "weights_avx512.h"
#define SCAN scan_512
#define EXTREMES block_extremes_512
#define ROUND round_blocks_512
#define POWERS powers_512
#include "weights_scan.h"

static int64_t scan_avx512(const uint8_t *raw, int kind, int64_t count, int64_t row, int with_moments, Sums *sums,
                           float *maxima, uint32_t *pairs)
{
    return scan_512(raw, kind, count, row, with_moments, sums, maxima, pairs);
}
#pragma GCC pop_options
#endif

/* `count` values stored as `kind`, in whole rows of `row` values, or a part of one row that begins where a group does. Adds
 * to `sums` and, if there are any, to `pairs` (kernels.h); `maxima` gets the largest magnitude of each group of 128;
 * without `with_moments` the moments are left out, which follow from a count of 16-bit patterns too. With `plain` the
 * processor is not asked what it can do. Gives the number of groups. */
EXPORT int64_t weigh_weights(const uint8_t *raw, int kind, int64_t count, int64_t row, int with_moments, Sums *sums,
                             float *maxima, uint32_t *pairs, int plain)
{
#ifdef WITH_AVX512
    if (!plain && has_avx512())
        return scan_avx512(raw, kind, count, row, with_moments, sums, maxima, pairs);
#endif
    (void)plain;
    return scan_any(raw, kind, count, row, with_moments, sums, maxima, pairs);
}
