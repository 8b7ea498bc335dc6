/* What the blocks of a tile are multiplied with before they are rounded. Needs `largest` and `smallest` of each block.
 * To add a rounding: its arrays in `Scales`, its lines here and in both files that round, its place in ERRORS. */
#ifndef WEIGH_WEIGHTS_SCALES_H
#define WEIGH_WEIGHTS_SCALES_H

#include "weights.h"

/* Largest and smallest of the numbers of some blocks, in lanes. */
INLINE float highest(const float *of_blocks, int blocks)
{
    float lanes[LANES], found = of_blocks[0];
    for (int j = 0; j < LANES; j++)
        lanes[j] = found;
    int b = 0;
    for (; b + LANES <= blocks; b += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = of_blocks[b + j] > lanes[j] ? of_blocks[b + j] : lanes[j];
    for (; b < blocks; b++)
        found = of_blocks[b] > found ? of_blocks[b] : found;
    for (int j = 0; j < LANES; j++)
        found = lanes[j] > found ? lanes[j] : found;
    return found;
}

INLINE float lowest(const float *of_blocks, int blocks)
{
    float lanes[LANES], found = of_blocks[0];
    for (int j = 0; j < LANES; j++)
        lanes[j] = found;
    int b = 0;
    for (; b + LANES <= blocks; b += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = of_blocks[b + j] < lanes[j] ? of_blocks[b + j] : lanes[j];
    for (; b < blocks; b++)
        found = of_blocks[b] < found ? of_blocks[b] : found;
    for (int j = 0; j < LANES; j++)
        found = lanes[j] < found ? lanes[j] : found;
    return found;
}

/* Of two values that are largest in magnitude and of opposite sign, the first decides the sign of the scale of q4_0. */
INLINE float leading(const float *values, float magnitude)
{
    for (int j = 0; j < BLOCK; j++)
        if (values[j] == magnitude || values[j] == -magnitude)
            return values[j];
    return magnitude;
}

INLINE double squares(const float *values, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += (double)values[i] * values[i];
    return sum;
}

/* Group maxima, and what every block is multiplied with. `weight` is the square of the block's scale against the
 * tile's, so that the sums of squares stay far from the ends of float32. Gives the largest magnitude of the tile. */
INLINE float scale_blocks(const float *restrict values, int blocks, Scales *restrict s, Sums *sums)
{
    for (int b = 0; b < blocks; b++)
        s->magnitude[b] = s->largest[b] > -s->smallest[b] ? s->largest[b] : -s->smallest[b];
    float tile = highest(s->magnitude, blocks);
    for (int g = 0; g < s->groups; g++) {
        const float *of = s->magnitude + s->first[g];
        int held = s->first[g + 1] - s->first[g];
        float largest = of[0];
        for (int b = 1; b < held; b++)
            largest = largest > of[b] ? largest : of[b];
        s->of_this[g] = largest;
        for (int b = 0; b < held; b++)
            s->of_group[s->first[g] + b] = largest;
    }
    float signed_largest[BLOCKS];
    for (int b = 0; b < blocks; b++)
        signed_largest[b] = s->largest[b] > -s->smallest[b] ? s->largest[b] : s->smallest[b];
    for (int b = 0; b < blocks; b++)
        if (s->largest[b] == -s->smallest[b])
            signed_largest[b] = leading(values + BLOCK * b, s->largest[b]);
    for (int b = 0; b < blocks; b++) {
        float q8 = s->magnitude[b] / 127.0f, q4 = signed_largest[b] / -8.0f;
        float int8 = s->of_group[b] / 127.0f, int4 = s->of_group[b] / 7.0f;
        float sign = q4 < 0 ? -1.0f : 1.0f;
        /* A scale that is no normal number has no inverse: such blocks are left to the last loop. */
        float least = 0x1p-126f, most = 65520.0f;
        s->inverse[Q8][b] = q8 >= least && q8 < most ? 1.0f / q8 : 0;
        s->inverse[Q4][b] = q4 * sign >= least && q4 * sign < most ? 1.0f / q4 : 0;
        s->inverse[INT8][b] = int8 >= least ? 1.0f / int8 : 0;
        s->inverse[INT4][b] = int4 >= least ? 1.0f / int4 : 0;
        s->ratio[0][b] = s->inverse[Q8][b] ? through_half(q8) * s->inverse[Q8][b] : 0;
        s->ratio[1][b] = s->inverse[Q4][b] ? through_half(q4) * sign * s->inverse[Q4][b] : 0;
        float block = tile > 0 ? s->magnitude[b] / tile : 0, group = tile > 0 ? s->of_group[b] / tile : 0;
        s->weight[0][b] = block * block;
        s->weight[1][b] = group * group;
    }
    int32_t outside = 0;
    for (int b = 0; b < blocks; b++) {
        int32_t scaled = (s->inverse[Q8][b] != 0) & (s->inverse[Q4][b] != 0) & (s->inverse[INT8][b] != 0)
            & (s->inverse[INT4][b] != 0);
        outside |= (s->magnitude[b] != 0) & !scaled;
    }
    for (int b = 0; outside && b < blocks; b++) {
        if (!s->magnitude[b])
            continue;
        for (int k = 0; k < ROUNDINGS; k++)
            if (!s->inverse[k][b]) {
                if (k < INT8 && s->magnitude[b] > 1)
                    sums->overflow[k]++;
                else
                    sums->error[k] += squares(values + BLOCK * b, BLOCK);
            }
    }
    return tile;
}

#endif
