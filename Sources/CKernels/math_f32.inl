// exp, log, tanh, erf on vectors of float: 1 to 3 units in the last place. Polynomials after Cephes (Moshier).

static inline V NAME(vexp)(V x) {
    // x = n ln 2 + r, |r| <= ln 2 / 2. Below -104 the result is 0, above 89 it is infinite; 2^n is applied in two
    // factors so that subnormal results come out right.
    x = NAME(select)(x < SPLAT(-110), SPLAT(-110), x);
    x = NAME(select)(x > SPLAT(90), SPLAT(90), x);
    const V magic = SPLAT(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    V t = MULADD(x, SPLAT(1.44269504088896341f), magic);
    V n = t - magic;
    V r = MULADD(n, SPLAT(-0.693359375f), x);
    r = MULADD(n, SPLAT(2.12194440e-4f), r);
    V p = MULADD(SPLAT(1.9875691500e-4f), r, SPLAT(1.3981999507e-3f));
    p = MULADD(p, r, SPLAT(8.3334519073e-3f));
    p = MULADD(p, r, SPLAT(4.1665795894e-2f));
    p = MULADD(p, r, SPLAT(1.6666665459e-1f));
    p = MULADD(p, r, SPLAT(5.0000001201e-1f));
    p = MULADD(p, r * r, r) + SPLAT(1);
    VI e = NAME(bits)(t) - NAME(bits)(magic);
    VI half = e >> 1;
    return p * NAME(from_bits)((half + 127) << 23) * NAME(from_bits)((e - half + 127) << 23);
}

static inline V NAME(vlog)(V x) {
    VI tiny = x < SPLAT(FLT_MIN);
    V scaled = NAME(select)(tiny, x * SPLAT(8388608.0f), x);
    VI i = NAME(bits)(scaled);
    VI e = (i - 0x3f3504f3) >> 23;  // mantissa in [sqrt(1/2), sqrt(2))
    V f = NAME(from_bits)(i - (e << 23)) - SPLAT(1);
    V n = __builtin_convertvector(e - (tiny & 23), V);
    V z = f * f;
    V p = MULADD(SPLAT(7.0376836292e-2f), f, SPLAT(-1.1514610310e-1f));
    p = MULADD(p, f, SPLAT(1.1676998740e-1f));
    p = MULADD(p, f, SPLAT(-1.2420140846e-1f));
    p = MULADD(p, f, SPLAT(1.4249322787e-1f));
    p = MULADD(p, f, SPLAT(-1.6668057665e-1f));
    p = MULADD(p, f, SPLAT(2.0000714765e-1f));
    p = MULADD(p, f, SPLAT(-2.4999993993e-1f));
    p = MULADD(p, f, SPLAT(3.3333331174e-1f));
    V y = f * z * p;
    y = MULADD(n, SPLAT(-2.12194440e-4f), y);
    y = MULADD(z, SPLAT(-0.5f), y);
    y = MULADD(n, SPLAT(0.693359375f), f + y);
    y = NAME(select)(x == SPLAT(0), SPLAT(-INFINITY), y);
    y = NAME(select)(x == SPLAT(INFINITY), x, y);
    return NAME(select)((x < SPLAT(0)) | (x != x), SPLAT(NAN), y);
}

// A polynomial below 0.625: 1 - 2 / (exp(2|x|) + 1) loses all digits near 0.
static inline V NAME(vtanh)(V x) {
    V a = NAME(vabs)(x), z = x * x;
    V p = MULADD(SPLAT(-5.70498872745e-3f), z, SPLAT(2.06390887954e-2f));
    p = MULADD(p, z, SPLAT(-5.37397155531e-2f));
    p = MULADD(p, z, SPLAT(1.33314422036e-1f));
    p = MULADD(p, z, SPLAT(-3.33332819422e-1f));
    V small = MULADD(p * z, x, x);
    V large = SPLAT(1) - SPLAT(2) / (NAME(vexp)(a + a) + SPLAT(1));
    VI sign = NAME(bits)(x) & INT32_MIN;
    large = NAME(from_bits)(NAME(bits)(large) | sign);
    return NAME(select)(a < SPLAT(0.625f), small, large);
}

static inline V NAME(vsigmoid)(V x) { return SPLAT(1) / (SPLAT(1) + NAME(vexp)(-x)); }

// log(1 + u) for u >= 0: the rounding of 1 + u is divided out.
static inline V NAME(vlog1p)(V u) {
    V w = SPLAT(1) + u;
    V y = NAME(vlog)(w) * (u / (w - SPLAT(1)));
    return NAME(select)(w == SPLAT(1), u, y);
}

// exp(x) - 1
static inline V NAME(vexpm1)(V x) {
    V r = SPLAT(1.9841270e-4f);  // Taylor to x^7, error below 1 ulp for |x| < 0.35
    r = MULADD(r, x, SPLAT(1.3888889e-3f));
    r = MULADD(r, x, SPLAT(8.3333333e-3f));
    r = MULADD(r, x, SPLAT(4.1666667e-2f));
    r = MULADD(r, x, SPLAT(1.6666667e-1f));
    r = MULADD(r, x, SPLAT(0.5f));
    V small = MULADD(r * x, x, x);
    return NAME(select)(NAME(vabs)(x) < SPLAT(0.35f), small, NAME(vexp)(x) - SPLAT(1));
}

// The normal distribution function Phi(x) = (1 + erf(x / sqrt 2)) / 2, by erf inside |x| < sqrt 2 and by erfc outside,
// so that the tail on the left keeps its digits.
static inline V NAME(vphi)(V x) {
    V u = x * SPLAT(0.70710678118654752f), a = NAME(vabs)(u), z = u * u;
    V p = MULADD(SPLAT(7.853861353153693e-5f), z, SPLAT(-8.010193625184903e-4f));
    p = MULADD(p, z, SPLAT(5.188327685732524e-3f));
    p = MULADD(p, z, SPLAT(-2.685381193529856e-2f));
    p = MULADD(p, z, SPLAT(1.128358514861418e-1f));
    p = MULADD(p, z, SPLAT(-3.761262582423300e-1f));
    p = MULADD(p, z, SPLAT(1.128379165726710e+0f));
    V inner = MULADD(p * u, SPLAT(0.5f), SPLAT(0.5f));
    V q = SPLAT(1) / NAME(select)(a < SPLAT(1), SPLAT(1), a), y = q * q;
    V near = MULADD(SPLAT(2.326819970068386e-2f), y, SPLAT(-1.387039388740657e-1f));
    near = MULADD(near, y, SPLAT(3.687424674597105e-1f));
    near = MULADD(near, y, SPLAT(-5.824733027278666e-1f));
    near = MULADD(near, y, SPLAT(6.210004621745983e-1f));
    near = MULADD(near, y, SPLAT(-4.944515323274145e-1f));
    near = MULADD(near, y, SPLAT(3.404879937665872e-1f));
    near = MULADD(near, y, SPLAT(-2.741127028184656e-1f));
    near = MULADD(near, y, SPLAT(5.638259427386472e-1f));
    V far = MULADD(SPLAT(-1.047766399936249e+1f), y, SPLAT(1.297719955372516e+1f));
    far = MULADD(far, y, SPLAT(-7.495518717768503e+0f));
    far = MULADD(far, y, SPLAT(2.921019019210786e+0f));
    far = MULADD(far, y, SPLAT(-1.015265279202700e+0f));
    far = MULADD(far, y, SPLAT(4.218463358204948e-1f));
    far = MULADD(far, y, SPLAT(-2.820767439740514e-1f));
    far = MULADD(far, y, SPLAT(5.641895067754075e-1f));
    V tail = SPLAT(0.5f) * NAME(vexp)(-a * a) * q * NAME(select)(a < SPLAT(2), near, far);
    V outer = NAME(select)(u < SPLAT(0), tail, SPLAT(1) - tail);
    V phi = NAME(select)(a < SPLAT(1), inner, outer);
    return NAME(select)(x != x, x, phi);
}
