/* What is done once a tile: values decoded and laid out in blocks, strange values set apart, moments joined. */
#ifndef WEIGH_WEIGHTS_TILES_H
#define WEIGH_WEIGHTS_TILES_H

#include "weights_scales.h"

INLINE void decode(const uint8_t *raw, int kind, int64_t begin, int64_t count, float *restrict values)
{
    if (kind == F32) {
        memcpy(values, raw + 4 * begin, 4 * (size_t)count);
    } else if (kind == BF16) {
        const uint16_t *codes = (const uint16_t *)raw + begin;
        for (int64_t i = 0; i < count; i++)
            values[i] = from_bits((uint32_t)codes[i] << 16);
    } else if (kind == F16) {
        const uint16_t *codes = (const uint16_t *)raw + begin;
        for (int64_t i = 0; i < count; i++)
            values[i] = from_half(codes[i]);
    } else {
        const uint8_t *block = raw + begin / BLOCK * (2 + BLOCK);
        for (int64_t i = 0; i < count; i += BLOCK, block += 2 + BLOCK) {
            float scale = from_half((uint32_t)(block[0] | block[1] << 8));
            for (int j = 0; j < BLOCK; j++)
                values[i + j] = scale * (float)(int8_t)block[2 + j];
        }
    }
}

/* Lay the next values out as blocks of 32 that belong to groups of 128 within a row, the rest of a last block zeros.
 * `at` is the place within the row. Gives the values taken; without a gap they stay where they are. */
INLINE int64_t lay_out(const float *values, int64_t count, int last, int64_t row, int64_t *at, float *padded,
                       int *blocks, Scales *s, int *padding)
{
    int64_t taken = 0;
    int b = 0, group = 0;
    *padding = 0;
    while (taken < count) {
        int64_t left = row - *at < GROUP ? row - *at : GROUP;
        if (left > count - taken) {
            /* A group is not cut by the end of a tile, only by that of the values. */
            if (!last)
                break;
            left = count - taken;
        }
        int needed = (int)((left + BLOCK - 1) / BLOCK);
        if (b + needed > BLOCKS)
            break;
        if (row % BLOCK) {
            memcpy(padded + BLOCK * b, values + taken, 4 * (size_t)left);
            memset(padded + BLOCK * b + left, 0, 4 * (size_t)(BLOCK * needed - left));
            *padding += (int)(BLOCK * needed - left);
        }
        s->first[group++] = b;
        b += needed;
        taken += left;
        *at = *at + left == row ? 0 : *at + left;
    }
    s->first[group] = b;
    s->groups = group;
    *blocks = b;
    return taken;
}


INLINE double sum_of(const float *restrict values, int64_t count)
{
    float lanes[2 * LANES] = {0};
    int64_t i = 0;
    double sum = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES)
        for (int j = 0; j < 2 * LANES; j++)
            lanes[j] += values[i + j];
    for (; i < count; i++)
        sum += values[i];
    for (int j = 0; j < 2 * LANES; j++)
        sum += lanes[j];
    return sum;
}

/* Copy the finite values, count the others. Gives how many are left. */
static int64_t finite_only(const float *values, int64_t count, float *finite, Sums *sums)
{
    int64_t kept = 0, nan = 0, infinite = 0, zeros = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t magnitude = to_bits(values[i]) & 0x7fffffff;
        if (magnitude > 0x7f800000)
            nan++;
        else if (magnitude == 0x7f800000)
            infinite++;
        else
            finite[kept++] = values[i];
        zeros += magnitude == 0;
    }
    if (kept < count) {
        sums->nan += (double)nan;
        sums->infinite += (double)infinite;
        sums->zeros += (double)zeros;
    }
    return kept;
}

/* Largest magnitude of some blocks, infinite where one of their values is not finite. */
static float finite_maximum(const float *values, int blocks)
{
    uint32_t largest = 0;
    for (int i = 0; i < BLOCK * blocks; i++) {
        uint32_t magnitude = to_bits(values[i]) & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    return from_bits(largest < 0x7f800000 ? largest : 0x7f800000);
}

INLINE void extremes_of(const float *restrict values, int64_t count, Sums *sums)
{
    for (int64_t i = 0; i < count; i++) {
        sums->minimum = values[i] < sums->minimum ? values[i] : sums->minimum;
        sums->maximum = values[i] > sums->maximum ? values[i] : sums->maximum;
    }
}

INLINE void extremes_of_blocks(const Scales *s, int blocks, Sums *sums)
{
    float smallest = lowest(s->smallest, blocks), largest = highest(s->largest, blocks);
    sums->minimum = smallest < sums->minimum ? smallest : sums->minimum;
    sums->maximum = largest > sums->maximum ? largest : sums->maximum;
}

/* Two sets of central moments made one: the formulas stand in the twin. */
static void merge(Sums *sums, double n, double mean, double m2, double m3, double m4)
{
    double old = sums->finite, all = old + n;
    if (n == 0)
        return;
    double delta = mean - sums->mean, step = delta / all;
    sums->m4 += m4 + delta * step * step * step * old * n * (old * old - old * n + n * n)
        + 6 * step * step * (old * old * m2 + n * n * sums->m2) + 4 * step * (old * m3 - n * sums->m3);
    sums->m3 += m3 + delta * step * step * old * n * (old - n) + 3 * step * (old * m2 - n * sums->m2);
    sums->m2 += m2 + delta * step * old * n;
    sums->mean += step * n;
    sums->finite = all;
}

/* Power sums about a guess of the mean, moved to the mean itself. */
INLINE void join_powers(const double *power, int64_t count, double guess, Sums *sums)
{
    double n = (double)count, e = power[0] / n;
    double m2 = power[1] - n * e * e;
    double m3 = power[2] - 3 * e * power[1] + 2 * n * e * e * e;
    double m4 = power[3] - 4 * e * power[2] + 6 * e * e * power[1] - 3 * n * e * e * e * e;
    merge(sums, n, guess + e, m2 > 0 ? m2 : 0, m3, m4 > 0 ? m4 : 0);
}

#endif
