/* How often each byte stands in each byte plane of stored numbers. The twin is `planes.py`. */

#include "kernels.h"

/* Numbers of 2 bytes: `pairs[65536]`. */
EXPORT void weigh_pairs_2(const uint8_t *raw, int64_t count, uint32_t *pairs)
{
    int64_t even = count / 4 * 4;
    count_pairs_2(raw, even, pairs);
    for (int64_t i = even; i < count; i++)
        pairs[raw[2 * i] | raw[2 * i + 1] << 8]++;
}

/* Numbers of 4 bytes: `pairs[2][65536]`, of the first two bytes and of the last two. */
EXPORT void weigh_pairs_4(const uint8_t *raw, int64_t count, uint32_t *pairs)
{
    int64_t even = count / 2 * 2;
    count_pairs_4(raw, even, pairs);
    for (int64_t i = even; i < count; i++) {
        pairs[raw[4 * i] | raw[4 * i + 1] << 8]++;
        pairs[65536 + (raw[4 * i + 2] | raw[4 * i + 3] << 8)]++;
    }
}

/* Numbers of any width: `counts[width][256]`. */
EXPORT void weigh_bytes(const uint8_t *raw, int64_t count, int64_t width, uint32_t *counts)
{
    int64_t i = 0;
    if (width == 1) {
        /* Two counters of one byte would wait for each other: four tables take turns. */
        uint32_t tables[4][256] = {{0}};
        for (; i + 4 <= count; i += 4)
            for (int k = 0; k < 4; k++)
                tables[k][raw[i + k]]++;
        for (int code = 0; code < 256; code++)
            counts[code] += tables[0][code] + tables[1][code] + tables[2][code] + tables[3][code];
    }
    for (; i < count; i++)
        for (int64_t plane = 0; plane < width; plane++)
            counts[256 * plane + raw[width * i + plane]]++;
}

EXPORT int weigh_interface(void)
{
    return 2;
}
