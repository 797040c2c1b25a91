// Box-Muller on blocks of pairs. Every level gives the same bytes: nothing is fused, and each operation is one that IEEE
// 754 rounds exactly.
static void NAME(box_muller)(size_t n, const uint32_t *restrict first, const uint32_t *restrict second,
                             double *restrict cosines, double *restrict sines) {
#pragma clang fp contract(off)
    for (size_t i = 0; i < n; i++) {
        // log of a number in (0, 1): x = m 2^e, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m-1)/(m+1)).
        double x = ((double)first[i] + 0.5) * 0x1p-32;
        int64_t bits;
        memcpy(&bits, &x, 8);
        int32_t e = (int32_t)((uint64_t)(bits - 0x3fe6a09e667f3bcd) >> 32) >> 20;
        bits -= (int64_t)((uint64_t)(int64_t)e << 52);
        double m;
        memcpy(&m, &bits, 8);
        double s = (m - 1) / (m + 1), z = s * s;
        double p = 1.0 / 19;
        p = p * z + 1.0 / 17;
        p = p * z + 1.0 / 15;
        p = p * z + 1.0 / 13;
        p = p * z + 1.0 / 11;
        p = p * z + 1.0 / 9;
        p = p * z + 1.0 / 7;
        p = p * z + 1.0 / 5;
        p = p * z + 1.0 / 3;
        double logarithm = (double)e * 0.69314718055994530942 + 2 * (s + s * z * p);
        cosines[i] = -2 * logarithm;
    }
    // sqrt() in the loops would set errno, which keeps them from becoming vectors.
    for (size_t i = 0; i < n; i += W) {
        size_t m = n - i < W ? n - i : W;
        NAME(store_part)(cosines + i, m, NAME(vsqrt)(PART(cosines, i, m)));
    }
    for (size_t i = 0; i < n; i++) {
        // sin and cos of a turn in [0, 1): Taylor within an eighth of a turn of the nearest axis
        double quarters = (double)second[i] * 0x1p-30;
        int32_t q = (int32_t)(quarters + 0.5);
        double a = (quarters - (double)q) * 1.57079632679489661923;  // |a| <= pi/4
        double w = a * a;
        double t = -1.0 / 1307674368000;
        t = t * w + 1.0 / 6227020800;
        t = t * w - 1.0 / 39916800;
        t = t * w + 1.0 / 362880;
        t = t * w - 1.0 / 5040;
        t = t * w + 1.0 / 120;
        t = t * w - 1.0 / 6;
        t = a + a * w * t;
        double c = 1.0 / 20922789888000;
        c = c * w - 1.0 / 87178291200;
        c = c * w + 1.0 / 479001600;
        c = c * w - 1.0 / 3628800;
        c = c * w + 1.0 / 40320;
        c = c * w - 1.0 / 720;
        c = c * w + 1.0 / 24;
        c = c * w - 0.5;
        c = 1 + w * c;
        double sine = q & 1 ? c : t, cosine = q & 1 ? t : c;
        double radius = cosines[i];
        cosines[i] = radius * ((q + 1) & 2 ? -cosine : cosine);
        sines[i] = radius * (q & 2 ? -sine : sine);
    }
}
