/* How two runs of float32 lie apart. The twin is `difference.py`. */

#include "floats.h"

enum { LANES = 16, RUN = 1024 };

/* The order of `difference.FIELDS`. */
typedef struct {
    double equal, difference, left, right, product, largest, unequal_nan;
} Apart;

/* Values some of which may be NaN or infinite. */
static void one_by_one(const float *a, const float *b, int64_t count, Apart *found)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t size_a = to_bits(a[i]) & 0x7fffffff, size_b = to_bits(b[i]) & 0x7fffffff;
        int same = a[i] == b[i] || (size_a > 0x7f800000 && size_b > 0x7f800000);
        found->equal += same;
        if (size_a >= 0x7f800000 || size_b >= 0x7f800000) {
            found->unequal_nan += !same;
            continue;
        }
        double left = a[i], right = b[i], apart = right - left, size = apart < 0 ? -apart : apart;
        found->difference += apart * apart;
        found->left += left * left;
        found->right += right * right;
        found->product += left * right;
        found->largest = size > found->largest ? size : found->largest;
    }
}

/* `found` is added to; sums in float64, each lane for itself. */
EXPORT CLONED void weigh_difference(const float *a, const float *b, int64_t count, Apart *found)
{
    double difference[LANES] = {0}, left[LANES] = {0}, right[LANES] = {0}, product[LANES] = {0}, largest[LANES] = {0};
    int64_t i = 0;
    for (; i + RUN <= count; i += RUN) {
        int32_t same[LANES] = {0}, strange[LANES] = {0};
        for (int64_t k = i; k < i + RUN; k += LANES)
            for (int j = 0; j < LANES; j++) {
                same[j] += a[k + j] == b[k + j];
                strange[j] |= ((to_bits(a[k + j]) & 0x7f800000) == 0x7f800000)
                    | ((to_bits(b[k + j]) & 0x7f800000) == 0x7f800000);
            }
        int32_t equal = 0, any = 0;
        for (int j = 0; j < LANES; j++) {
            equal += same[j];
            any |= strange[j];
        }
        if (any) {
            one_by_one(a + i, b + i, RUN, found);
            continue;
        }
        found->equal += equal;
        for (int64_t k = i; k < i + RUN; k += LANES)
            for (int j = 0; j < LANES; j++) {
                double one = a[k + j], other = b[k + j], apart = other - one, size = apart < 0 ? -apart : apart;
                difference[j] += apart * apart;
                left[j] += one * one;
                right[j] += other * other;
                product[j] += one * other;
                largest[j] = size > largest[j] ? size : largest[j];
            }
    }
    one_by_one(a + i, b + i, count - i, found);
    for (int j = 0; j < LANES; j++) {
        found->difference += difference[j];
        found->left += left[j];
        found->right += right[j];
        found->product += product[j];
        found->largest = largest[j] > found->largest ? largest[j] : found->largest;
    }
}
