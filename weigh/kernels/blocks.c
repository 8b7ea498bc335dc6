/* ggml's blocks made float32. The twins are the decoders of `weigh/codecs`, which say what each byte means: the same
 * products in the same order, each rounded, so the same bits. Compile with -ffp-contract=off.
 * To add one: a function of one block, a line in `weigh_blocks`, a line in KINDS of `blocks.py`. */

#include "floats.h"

enum { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K };

INLINE float half_at(const uint8_t *raw)
{
    return from_half((uint32_t)(raw[0] | raw[1] << 8));
}

INLINE void q4_0(const uint8_t *raw, float *restrict values)
{
    float d = half_at(raw);
    for (int i = 0; i < 16; i++) {
        values[i] = d * (float)((raw[2 + i] & 15) - 8);
        values[16 + i] = d * (float)((raw[2 + i] >> 4) - 8);
    }
}

INLINE void q4_1(const uint8_t *raw, float *restrict values)
{
    float d = half_at(raw), m = half_at(raw + 2);
    for (int i = 0; i < 16; i++) {
        values[i] = d * (float)(raw[4 + i] & 15) + m;
        values[16 + i] = d * (float)(raw[4 + i] >> 4) + m;
    }
}

INLINE uint32_t fifth_bits(const uint8_t *raw)
{
    return (uint32_t)raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24;
}

INLINE void q5_0(const uint8_t *raw, float *restrict values)
{
    float d = half_at(raw);
    uint32_t fifth = fifth_bits(raw + 2);
    for (int i = 0; i < 16; i++) {
        values[i] = d * (float)((int32_t)(raw[6 + i] & 15) + (int32_t)(fifth >> i & 1) * 16 - 16);
        values[16 + i] = d * (float)((int32_t)(raw[6 + i] >> 4) + (int32_t)(fifth >> (16 + i) & 1) * 16 - 16);
    }
}

INLINE void q5_1(const uint8_t *raw, float *restrict values)
{
    float d = half_at(raw), m = half_at(raw + 2);
    uint32_t fifth = fifth_bits(raw + 4);
    for (int i = 0; i < 16; i++) {
        values[i] = d * (float)((int32_t)(raw[8 + i] & 15) + (int32_t)(fifth >> i & 1) * 16) + m;
        values[16 + i] = d * (float)((int32_t)(raw[8 + i] >> 4) + (int32_t)(fifth >> (16 + i) & 1) * 16) + m;
    }
}

INLINE void q8_0(const uint8_t *raw, float *restrict values)
{
    float d = half_at(raw);
    for (int i = 0; i < 32; i++)
        values[i] = d * (float)(int8_t)raw[2 + i];
}

/* Scale and minimum of group g, of 6 bits each, from the twelve bytes of q4_k and q5_k. */
INLINE void six_bits(const uint8_t *packed, int g, int32_t *scale, int32_t *minimum)
{
    if (g < 4) {
        *scale = packed[g] & 63;
        *minimum = packed[4 + g] & 63;
    } else {
        *scale = (packed[4 + g] & 15) | packed[g - 4] >> 6 << 4;
        *minimum = packed[4 + g] >> 4 | packed[g] >> 6 << 4;
    }
}

INLINE void q45_k(const uint8_t *raw, int fifth, float *restrict values)
{
    float d = half_at(raw), dmin = half_at(raw + 2);
    const uint8_t *high = raw + 16, *low = raw + 16 + 32 * fifth;
    for (int g = 0; g < 8; g++) {
        int32_t s, m;
        six_bits(raw + 4, g, &s, &m);
        float scale = d * (float)s, minimum = dmin * (float)m;
        for (int i = 0; i < 32; i++) {
            int32_t code = low[g / 2 * 32 + i] >> 4 * (g % 2) & 15;
            if (fifth)
                code |= (high[i] >> g & 1) << 4;
            values[32 * g + i] = scale * (float)code - minimum;
        }
    }
}

INLINE void q6_k(const uint8_t *raw, float *restrict values)
{
    float d = half_at(raw + 208);
    for (int g = 0; g < 16; g++) {
        float scale = d * (float)(int8_t)raw[192 + g];
        /* A half of 128 values: four runs of 32, the upper two in the high halves of the low runs' bytes. */
        int part = g / 8, run = g % 8 / 2, from = g % 2 * 16;
        const uint8_t *low = raw + 64 * part + 32 * (run % 2) + from, *high = raw + 128 + 32 * part + from;
        for (int i = 0; i < 16; i++) {
            int32_t code = (low[i] >> 4 * (run / 2) & 15) | (high[i] >> 2 * run & 3) << 4;
            values[16 * g + i] = scale * (float)(code - 32);
        }
    }
}

/* `count` blocks of `kind` to their values. */
EXPORT CLONED void weigh_blocks(const uint8_t *raw, int kind, int64_t count, float *values)
{
    for (int64_t b = 0; kind == Q4_0 && b < count; b++)
        q4_0(raw + 18 * b, values + 32 * b);
    for (int64_t b = 0; kind == Q4_1 && b < count; b++)
        q4_1(raw + 20 * b, values + 32 * b);
    for (int64_t b = 0; kind == Q5_0 && b < count; b++)
        q5_0(raw + 22 * b, values + 32 * b);
    for (int64_t b = 0; kind == Q5_1 && b < count; b++)
        q5_1(raw + 24 * b, values + 32 * b);
    for (int64_t b = 0; kind == Q8_0 && b < count; b++)
        q8_0(raw + 34 * b, values + 32 * b);
    for (int64_t b = 0; kind == Q4_K && b < count; b++)
        q45_k(raw + 144 * b, 0, values + 256 * b);
    for (int64_t b = 0; kind == Q5_K && b < count; b++)
        q45_k(raw + 176 * b, 1, values + 256 * b);
    for (int64_t b = 0; kind == Q6_K && b < count; b++)
        q6_k(raw + 210 * b, values + 256 * b);
}
