// One pass over value, gradient and both moments.

static inline V NAME(adamw_vector)(const lk_adamw *s, V value, V g, V *m, V *v) {
    g *= SPLAT(s->scale);
    *m = MULADD(*m, SPLAT(s->beta1), SPLAT(1 - s->beta1) * g);
    *v = MULADD(*v, SPLAT(s->beta2), SPLAT(1 - s->beta2) * g * g);
    V root = MULADD(NAME(vsqrt)(*v), SPLAT(1 / sqrt(s->correction2)), SPLAT(s->eps));
    return MULADD(value, SPLAT(1 - s->rate * s->decay), -SPLAT(s->rate / s->correction1) * *m / root);
}

static void NAME(adamw_step)(const lk_adamw *settings, size_t n, void *values, const void *gradients, void *firsts,
                             void *seconds) {
    const lk_adamw s = *settings;
    T *x = values, *m = firsts, *v = seconds;
    const T *g = gradients;
    size_t i = 0;
    for (; i + W <= n; i += W) {
        V first = AT(m, i), second = AT(v, i);
        NAME(store)(x + i, NAME(adamw_vector)(&s, AT(x, i), AT(g, i), &first, &second));
        NAME(store)(m + i, first);
        NAME(store)(v + i, second);
    }
    if (i < n) {
        size_t rest = n - i;
        V first = PART(m, i, rest), second = PART(v, i, rest);
        NAME(store_part)(x + i, rest, NAME(adamw_vector)(&s, PART(x, i, rest), PART(g, i, rest), &first, &second));
        NAME(store_part)(m + i, rest, first);
        NAME(store_part)(v + i, rest, second);
    }
}
