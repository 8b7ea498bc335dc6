/* The stages of a tile that cost most, in plain C: loops that a compiler turns into vector instructions without being
 * allowed to reorder sums, since each lane adds for itself. `weights_avx512.h` has the same with instructions of its own. */
#ifndef WEIGH_WEIGHTS_PLAIN_H
#define WEIGH_WEIGHTS_PLAIN_H

#include "weights.h"

/* Widths must be constants: an array with a place that is only known at run time does not stay in registers. */
#define FOLD(width) \
    for (int j = 0; j < width; j++) { \
        high[j] = high[j] > high[j + width] ? high[j] : high[j + width]; \
        low[j] = low[j] < low[j + width] ? low[j] : low[j + width]; \
    }

INLINE void block_extremes_plain(const float *restrict values, int blocks, Scales *restrict s)
{
    for (int b = 0; b < blocks; b++) {
        float high[16], low[16];
        for (int j = 0; j < 16; j++) {
            float one = values[BLOCK * b + j], other = values[BLOCK * b + 16 + j];
            high[j] = one > other ? one : other;
            low[j] = one < other ? one : other;
        }
        FOLD(8)
        FOLD(4)
        FOLD(2)
        FOLD(1)
        s->largest[b] = high[0];
        s->smallest[b] = low[0];
    }
}

/* Sums of squared errors in units of the tile's scale, and how many values are zero or made zero by int8. */
INLINE void round_blocks_plain(const float *restrict values, int blocks, const Scales *restrict s, int padding,
                               const Stored *stored, int kind, double *total, Sums *sums)
{
    float q8[LANES] = {0}, q4[LANES] = {0}, int8[LANES] = {0}, int4[LANES] = {0};
    int32_t made_zero[LANES] = {0}, zero[LANES] = {0};
    for (int b = 0; b < blocks; b++) {
        float i8 = s->inverse[Q8][b], i4 = s->inverse[Q4][b], g8 = s->inverse[INT8][b], g4 = s->inverse[INT4][b];
        float r8 = s->ratio[0][b], r4 = s->ratio[1][b], of_block = s->weight[0][b], of_group = s->weight[1][b];
        count_block(stored, kind, b);
        for (int half = 0; half < BLOCK; half += LANES) {
            for (int j = 0; j < LANES; j++) {
                float value = values[BLOCK * b + half + j];
                float exact = value * i8;
                float off = exact - half_away(exact) * r8;
                q8[j] += off * off * of_block;
                exact = value * i4;
                float code = (float)(int32_t)(exact + 8.5f);
                off = exact - ((code < 15.0f ? code : 15.0f) - 8.0f) * r4;
                q4[j] += off * off * of_block;
                exact = value * g8;
                float whole = half_even(exact);
                made_zero[j] += whole == 0;
                zero[j] += value == 0;
                off = exact - whole;
                int8[j] += off * off * of_group;
                exact = value * g4;
                off = exact - half_even(exact);
                int4[j] += off * off * of_group;
            }
        }
    }
    int64_t zeros = 0, near = 0;
    for (int j = 0; j < LANES; j++) {
        total[Q8] += q8[j];
        total[Q4] += q4[j];
        total[INT8] += int8[j];
        total[INT4] += int4[j];
        zeros += zero[j];
        near += made_zero[j] - zero[j];
    }
    sums->zeros += (double)(zeros - padding);
    sums->near_zeros += (double)near;
}

/* Sums of the first four powers of x - guess. */
INLINE void powers_plain(const float *restrict values, int64_t count, double guess, double *total)
{
    double s1[LANES] = {0}, s2[LANES] = {0}, s3[LANES] = {0}, s4[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double off = (double)values[i + j] - guess, square = off * off;
            s1[j] += off;
            s2[j] += square;
            s3[j] += square * off;
            s4[j] += square * square;
        }
    double t1 = 0, t2 = 0, t3 = 0, t4 = 0;
    for (; i < count; i++) {
        double off = (double)values[i] - guess, square = off * off;
        t1 += off;
        t2 += square;
        t3 += square * off;
        t4 += square * square;
    }
    for (int j = 0; j < LANES; j++) {
        t1 += s1[j];
        t2 += s2[j];
        t3 += s3[j];
        t4 += s4[j];
    }
    total[0] = t1;
    total[1] = t2;
    total[2] = t3;
    total[3] = t4;
}

#endif
