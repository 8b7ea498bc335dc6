/* The stages of `weights_plain.h` for processors with AVX-512, included under their target options.
 * VREDUCEPS gives x - round(x) in one instruction. Products are fused only in the sums of squares: what decides a code,
 * and the error of a value, is rounded as in the plain form. */
#ifndef WEIGH_WEIGHTS_AVX512_H
#define WEIGH_WEIGHTS_AVX512_H

#include <immintrin.h>

#include "weights.h"

enum { TO_EVEN = 0x08, TOWARDS_ZERO = 0x0b };

/* One step of a reduction of several vectors at once: half as many vectors, each lane the extreme of two. */
#define HALVE(extreme, low, high, from, to) \
    for (int i = 0; i < to; i++) \
        from[i] = extreme(low(from[2 * i], from[2 * i + 1]), high(from[2 * i], from[2 * i + 1]));
#define UNPACK_LOW_PAIRS(a, b) _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
#define UNPACK_HIGH_PAIRS(a, b) _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
#define EVEN_QUARTERS(a, b) _mm512_shuffle_f32x4(a, b, 0x88)
#define ODD_QUARTERS(a, b) _mm512_shuffle_f32x4(a, b, 0xdd)

INLINE void block_extremes_512(const float *values, int blocks, Scales *s)
{
    for (int first = 0; first < blocks; first += LANES) {
        __m512 high[LANES], low[LANES];
        for (int i = 0; i < LANES; i++) {
            /* Behind the last block it is taken again; BLOCKS is a multiple of LANES, so there is room. */
            int b = first + i < blocks ? first + i : blocks - 1;
            __m512 one = _mm512_loadu_ps(values + BLOCK * b), other = _mm512_loadu_ps(values + BLOCK * b + LANES);
            high[i] = _mm512_max_ps(one, other);
            low[i] = _mm512_min_ps(one, other);
        }
        HALVE(_mm512_max_ps, _mm512_unpacklo_ps, _mm512_unpackhi_ps, high, 8)
        HALVE(_mm512_min_ps, _mm512_unpacklo_ps, _mm512_unpackhi_ps, low, 8)
        HALVE(_mm512_max_ps, UNPACK_LOW_PAIRS, UNPACK_HIGH_PAIRS, high, 4)
        HALVE(_mm512_min_ps, UNPACK_LOW_PAIRS, UNPACK_HIGH_PAIRS, low, 4)
        HALVE(_mm512_max_ps, EVEN_QUARTERS, ODD_QUARTERS, high, 2)
        HALVE(_mm512_min_ps, EVEN_QUARTERS, ODD_QUARTERS, low, 2)
        HALVE(_mm512_max_ps, EVEN_QUARTERS, ODD_QUARTERS, high, 1)
        HALVE(_mm512_min_ps, EVEN_QUARTERS, ODD_QUARTERS, low, 1)
        _mm512_storeu_ps(s->largest + first, high[0]);
        _mm512_storeu_ps(s->smallest + first, low[0]);
    }
}

INLINE double lanes_512(__m512 sums)
{
    return _mm512_reduce_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(sums)))
        + _mm512_reduce_add_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(sums, 1)));
}

INLINE void round_blocks_512(const float *values, int blocks, const Scales *s, int padding, const Stored *stored,
                             int kind, double *total, Sums *sums)
{
    const __m512 sign = _mm512_set1_ps(-0.0f), nearly_half = _mm512_set1_ps(from_bits(0x3effffffu));
    const __m512 half = _mm512_set1_ps(0.5f), eight = _mm512_set1_ps(8.0f), half_more = _mm512_set1_ps(8.5f);
    const __m512 last = _mm512_set1_ps(15.0f);
    const __m512i one = _mm512_set1_epi32(1);
    __m512 q8 = _mm512_setzero_ps(), q4 = q8, int8 = q8, int4 = q8;
    __m512i zero = _mm512_setzero_si512(), made_zero = zero;
    for (int b = 0; b < blocks; b++) {
        __m512 i8 = _mm512_set1_ps(s->inverse[Q8][b]), i4 = _mm512_set1_ps(s->inverse[Q4][b]);
        __m512 g8 = _mm512_set1_ps(s->inverse[INT8][b]), g4 = _mm512_set1_ps(s->inverse[INT4][b]);
        __m512 r8 = _mm512_set1_ps(s->ratio[0][b]), r4 = _mm512_set1_ps(s->ratio[1][b]);
        __m512 of_q8 = _mm512_setzero_ps(), of_q4 = of_q8, of_int8 = of_q8, of_int4 = of_q8;
        count_block(stored, kind, b);
        for (int at = 0; at < BLOCK; at += LANES) {
            __m512 value = _mm512_loadu_ps(values + BLOCK * b + at);
            __m512 exact = _mm512_mul_ps(value, i8);
            __m512 code = _mm512_add_ps(exact, _mm512_or_ps(_mm512_and_ps(exact, sign), nearly_half));
            __m512 off = _mm512_sub_ps(exact, _mm512_mul_ps(_mm512_roundscale_ps(code, TOWARDS_ZERO), r8));
            of_q8 = _mm512_fmadd_ps(off, off, of_q8);
            exact = _mm512_mul_ps(value, i4);
            code = _mm512_min_ps(_mm512_roundscale_ps(_mm512_add_ps(exact, half_more), TOWARDS_ZERO), last);
            off = _mm512_sub_ps(exact, _mm512_mul_ps(_mm512_sub_ps(code, eight), r4));
            of_q4 = _mm512_fmadd_ps(off, off, of_q4);
            exact = _mm512_mul_ps(value, g8);
            off = _mm512_reduce_ps(exact, TO_EVEN);
            of_int8 = _mm512_fmadd_ps(off, off, of_int8);
            made_zero = _mm512_mask_add_epi32(
                made_zero, _mm512_cmp_ps_mask(_mm512_abs_ps(exact), half, _CMP_LE_OQ), made_zero, one);
            zero = _mm512_mask_add_epi32(
                zero, _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_EQ_OQ), zero, one);
            off = _mm512_reduce_ps(_mm512_mul_ps(value, g4), TO_EVEN);
            of_int4 = _mm512_fmadd_ps(off, off, of_int4);
        }
        __m512 of_block = _mm512_set1_ps(s->weight[0][b]), of_group = _mm512_set1_ps(s->weight[1][b]);
        q8 = _mm512_fmadd_ps(of_q8, of_block, q8);
        q4 = _mm512_fmadd_ps(of_q4, of_block, q4);
        int8 = _mm512_fmadd_ps(of_int8, of_group, int8);
        int4 = _mm512_fmadd_ps(of_int4, of_group, int4);
    }
    int zeros = _mm512_reduce_add_epi32(zero);
    total[Q8] = lanes_512(q8);
    total[Q4] = lanes_512(q4);
    total[INT8] = lanes_512(int8);
    total[INT4] = lanes_512(int4);
    sums->zeros += zeros - padding;
    sums->near_zeros += _mm512_reduce_add_epi32(made_zero) - zeros;
}

INLINE void powers_512(const float *values, int64_t count, double guess, double *total)
{
    const __m512d about = _mm512_set1_pd(guess);
    __m512d sum[4][2];
    for (int power = 0; power < 4; power++)
        sum[power][0] = sum[power][1] = _mm512_setzero_pd();
    for (int64_t i = 0; i < count; i += LANES) {
        /* Lanes behind the end are left out of every sum. */
        __mmask16 held = count - i < LANES ? (__mmask16)((1 << (count - i)) - 1) : (__mmask16)0xffff;
        __m512 value = _mm512_maskz_loadu_ps(held, values + i);
        for (int k = 0; k < 2; k++) {
            __m256 part = k ? _mm512_extractf32x8_ps(value, 1) : _mm512_castps512_ps256(value);
            __m512d off = _mm512_maskz_sub_pd((__mmask8)(held >> 8 * k), _mm512_cvtps_pd(part), about);
            __m512d square = _mm512_mul_pd(off, off);
            sum[0][k] = _mm512_add_pd(sum[0][k], off);
            sum[1][k] = _mm512_add_pd(sum[1][k], square);
            sum[2][k] = _mm512_fmadd_pd(square, off, sum[2][k]);
            sum[3][k] = _mm512_fmadd_pd(square, square, sum[3][k]);
        }
    }
    for (int power = 0; power < 4; power++)
        total[power] = _mm512_reduce_add_pd(_mm512_add_pd(sum[power][0], sum[power][1]));
}

#endif
