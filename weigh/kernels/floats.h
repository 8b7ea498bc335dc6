/* Floats and their bits: float16 to float32 and back, and the nearest integer, all without a branch. */
#ifndef WEIGH_FLOATS_H
#define WEIGH_FLOATS_H

#include "kernels.h"

INLINE float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE uint32_t to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

/* IEEE half: the exponent is moved by a product, which gets subnormal numbers right as well. */
INLINE float from_half(uint32_t half)
{
    float magnitude = from_bits((half & 0x7fff) << 13) * 0x1p112f;
    uint32_t special = (half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
    return from_bits(to_bits(magnitude) | special | (half & 0x8000) << 16);
}

/* The nearest integer, halves away from zero, as roundf: the largest float below a half never carries a smaller one up. */
INLINE float half_away(float value)
{
    float nearly_half = from_bits((to_bits(value) & 0x80000000u) | 0x3effffffu);
    return (float)(int32_t)(value + nearly_half);
}

/* The nearest integer, halves to even: beyond 2^23 a float has no fraction left. */
INLINE float half_even(float value)
{
    return (value + 12582912.0f) - 12582912.0f;
}

/* A scale as float16 keeps it: its last place is that of a number 2^13 times as large in float32. */
INLINE float through_half(float scale)
{
    uint32_t bits = to_bits(scale) & 0x7fffffff;
    uint32_t exponent = bits & 0x7f800000;
    exponent = exponent > (113u << 23) ? exponent : (113u << 23);
    float shift = from_bits(exponent + (13u << 23) + 0x400000u);
    float kept = (from_bits(bits) + shift) - shift;
    return bits >= to_bits(65520.0f) ? from_bits(0x7f800000) : kept;
}

#endif
