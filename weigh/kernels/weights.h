/* The nouns of the statistics: what is summed, and what a tile of blocks is rounded with. */
#ifndef WEIGH_WEIGHTS_H
#define WEIGH_WEIGHTS_H

#include "floats.h"

enum { BLOCK = 32, GROUP = 128, TILE = 4096, BLOCKS = TILE / BLOCK, LANES = 16 };
enum { F32, BF16, F16, Q8_0, UNCOUNTED };
enum { Q8, Q4, INT8, INT4, ROUNDINGS };

/* The order of `weights.FIELDS`. */
typedef struct {
    double finite, nan, infinite, zeros, near_zeros, minimum, maximum, mean, m2, m3, m4, unrounded;
    double error[ROUNDINGS], overflow[ROUNDINGS];
} Sums;

typedef struct {
    float largest[BLOCKS], smallest[BLOCKS], magnitude[BLOCKS], of_group[BLOCKS], of_this[BLOCKS];
    float inverse[ROUNDINGS][BLOCKS], ratio[2][BLOCKS], weight[2][BLOCKS];
    int first[BLOCKS + 1]; /* block that a group begins with */
    int groups;
} Scales;

/* The stored bytes of a tile, and where their 16-bit patterns are counted (kernels.h), if they are. */
typedef struct {
    const uint8_t *raw;
    uint32_t *pairs;
} Stored;

INLINE int64_t stored_bytes(int kind, int64_t values)
{
    return kind == F32 ? 4 * values : kind == Q8_0 ? values / BLOCK * (2 + BLOCK) : 2 * values;
}

/* Increments and sums keep different parts of a core busy, so the patterns are counted while values are rounded. */
INLINE void count_block(const Stored *stored, int kind, int block)
{
    const uint8_t *raw = stored->raw + stored_bytes(kind, (int64_t)BLOCK * block);
    if (kind == F32) {
        count_pairs_4(raw, BLOCK, stored->pairs);
    } else if (kind == Q8_0) {
        count_pairs_2(raw, BLOCK / 2, stored->pairs);
        stored->pairs[raw[32] | raw[33] << 8]++;
    } else if (kind != UNCOUNTED) {
        count_pairs_2(raw, BLOCK, stored->pairs);
    }
}

EXPORT void weigh_pairs_2(const uint8_t *raw, int64_t count, uint32_t *pairs);
EXPORT void weigh_pairs_4(const uint8_t *raw, int64_t count, uint32_t *pairs);

INLINE void count_stored(const Stored *stored, int kind, int64_t values)
{
    if (!stored->pairs)
        return;
    if (kind == F32)
        weigh_pairs_4(stored->raw, values, stored->pairs);
    else
        weigh_pairs_2(stored->raw, stored_bytes(kind, values) / 2, stored->pairs);
}

#endif
