/* The walk over the tiles. Included by `weights.c` once for each instruction set, with SCAN (its name), EXTREMES, ROUND and
 * POWERS (the stages) defined. */

INLINE int64_t SCAN(const uint8_t *raw, int kind, int64_t count, int64_t row, int with_moments, Sums *sums,
                    float *maxima, uint32_t *pairs)
{
    float tile[TILE], padded[TILE], finite[TILE];
    Scales s;
    int64_t groups = 0, at = 0;
    memset(&s, 0, sizeof s);
    for (int64_t done = 0; done < count;) {
        int64_t ready = count - done < TILE ? count - done : TILE;
        int blocks, padding;
        const float *values = tile;
        if (kind == F32 && ((uintptr_t)raw & 3) == 0)
            values = (const float *)raw + done;
        else
            decode(raw, kind, done, ready, tile);
        Stored stored = {raw + stored_bytes(kind, done), pairs};
        int64_t taken = lay_out(values, ready, ready == count - done, row, &at, padded, &blocks, &s, &padding);
        const float *laid = row % BLOCK ? padded : values;
        done += taken;
        double sum = sum_of(values, taken), power[4];
        int64_t kept = taken;
        if (sum - sum != 0) {
            /* Something is not finite, or the sum is too large for float32. */
            kept = finite_only(values, taken, finite, sums);
            sum = kept ? (double)finite[0] * (double)kept : 0;
        }
        if (kept < taken) {
            for (int g = 0; g < s.groups; g++)
                maxima[groups + g] = finite_maximum(laid + BLOCK * s.first[g], s.first[g + 1] - s.first[g]);
            count_stored(&stored, kind, taken);
            sums->unrounded += (double)taken;
            extremes_of(finite, kept, sums);
            values = finite;
        } else {
            EXTREMES(laid, blocks, &s);
            float largest = scale_blocks(laid, blocks, &s, sums);
            memcpy(maxima + groups, s.of_this, 4 * (size_t)s.groups);
            if (padding)
                extremes_of(values, taken, sums);
            else
                extremes_of_blocks(&s, blocks, sums);
            double error[ROUNDINGS] = {0};
            /* The kind is a constant in each call, so that the loop within has no choice to make. */
            if (!pairs || row % BLOCK)
                ROUND(laid, blocks, &s, padding, &stored, UNCOUNTED, error, sums);
            else if (kind == F32)
                ROUND(laid, blocks, &s, padding, &stored, F32, error, sums);
            else if (kind == Q8_0)
                ROUND(laid, blocks, &s, padding, &stored, Q8_0, error, sums);
            else
                ROUND(laid, blocks, &s, padding, &stored, BF16, error, sums);
            if (row % BLOCK)
                count_stored(&stored, kind, taken);
            const double unit[ROUNDINGS] = {largest / 127.0, largest / 8.0, largest / 127.0, largest / 7.0};
            for (int k = 0; k < ROUNDINGS; k++)
                sums->error[k] += error[k] * unit[k] * unit[k];
        }
        groups += s.groups;
        if (with_moments && kept) {
            double guess = sum / (double)kept;
            POWERS(values, kept, guess, power);
            join_powers(power, kept, guess, sums);
        }
    }
    return groups;
}
