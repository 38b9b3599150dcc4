/* The exact chain of two inputs through slopes, written by hand: the peer of deeplim.finite.pair in normals.py.

   Sixteen networks side by side, the same random streams, the same coordinates, the same order of everything, so that
   its results are those of the Python kernel but for rounding. gcc -O3 -march=native -shared -fPIC. */
#include <math.h>
#include <stdint.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { LANES = 16, ROWS_TOGETHER = 32 };
typedef float single __attribute__((vector_size(64)));
typedef uint32_t bits __attribute__((vector_size(64)));
typedef int32_t whole __attribute__((vector_size(64)));
typedef double wide __attribute__((vector_size(128)));
typedef int64_t truth __attribute__((vector_size(128)));

static inline bits rotate(bits x, int k) { return (x << k) | (x >> (32 - k)); }

static inline bits next(bits s[4]) {
    bits out = rotate(s[0] + s[3], 7) + s[0], t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return out;
}

#ifdef __AVX512F__
static inline single choose_negative(single x, single yes, single no) {
    return (single)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)x), (__m512)no, (__m512)yes);
}
static inline single choose_odd(bits x, single yes, single no) {
    return (single)_mm512_mask_blend_ps(_mm512_test_epi32_mask((__m512i)x, _mm512_set1_epi32(1)), (__m512)no, (__m512)yes);
}
#else
static inline single blend(whole mask, single yes, single no) { return (single)((mask & (whole)yes) | (~mask & (whole)no)); }
static inline single choose_negative(single x, single yes, single no) { return blend(x < 0, yes, no); }
static inline single choose_odd(bits x, single yes, single no) { return blend((whole)((x & 1) != 0), yes, no); }
#endif

static inline single log2_uniform(bits x) {
    bits shifted = (bits)__builtin_convertvector(x | 1, single) - (0x3F3504F3u + (32u << 23));
    single e = __builtin_convertvector((whole)shifted >> 23, single);
    single m = (single)((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    single p = m * -0.14973328f + 0.23570964f;
    p = p * m + -0.24832281f;
    p = p * m + 0.28686888f;
    p = p * m + -0.36026346f;
    p = p * m + 0.48093116f;
    p = p * m + -0.72135249f;
    p = p * m + 1.4426949f;
    return p * m + e;
}

static inline void half_turn(bits x, single *cosine, single *sine) {
    single t = __builtin_convertvector((whole)x, single) * 0x1p-31f, y = t * t;
    single s = y * 0.00015315507f + -0.0046774703f, c = y * 0.00085768237f + -0.020809518f;
    s = s * y + 0.0796924f;
    s = s * y + -0.64596444f;
    s = s * y + 1.5707964f;
    c = c * y + 0.25364995f;
    c = c * y + -1.233698f;
    c = c * y + 0.99999994f;
    *cosine = c;
    *sine = s * t;
}

static inline wide root(wide x) {
    wide r;
    for (int k = 0; k < LANES; k++) r[k] = sqrt(x[k]);
    return r;
}
static inline wide pick(truth t, wide yes, wide no) { return (wide)((t & (truth)yes) | (~t & (truth)no)); }

static void rows(int n, float s_plus, float s_minus, wide r, bits s[4], wide sums[3]) {
    wide half = 0.5 * r, up = (1 - half) * (1 + half), zero = {0};
    single lean = __builtin_convertvector(-half, single), size = __builtin_convertvector(r, single);
    single height = __builtin_convertvector(root(pick(up > 0, up, zero)), single);
    single inverse = __builtin_convertvector(1 / r, single);
    single plus = s_plus - (single){0}, minus = s_minus - (single){0};
    sums[0] = sums[1] = sums[2] = zero;
    for (int begin = 0; begin < n; begin += ROWS_TOGETHER) {
        single a = {0}, b = {0}, c = {0};
        int end = begin + ROWS_TOGETHER < n ? begin + ROWS_TOGETHER : n;
        for (int i = begin; i < end; i++) {
            bits word = next(s), turn = next(s);
            single w = log2_uniform(word), z, across;
            half_turn(turn, &z, &across);
            single x = height * across + lean * z;
            single here = choose_odd(word, minus, plus), other = choose_odd(word, plus, minus);
            single there = choose_negative(size * x + z, other, here);
            single p = here * z, d = (there - here) * (z * inverse) + there * x;
            single wp = w * p, wd = w * d;
            a = wp * p + a;
            b = wp * d + b;
            c = wd * d + c;
        }
        sums[0] += __builtin_convertvector(a, wide);
        sums[1] += __builtin_convertvector(b, wide);
        sums[2] += __builtin_convertvector(c, wide);
    }
}

/* states: (4, networks) words; gap: 1 - rho of the inputs; found: (networks, 3): V of both inputs, and r = sqrt(2 gap),
   after ``depth`` layers. Few enough layers that nothing underflows. */
void pair_networks(const uint32_t *states, int networks, int n, int depth, double scale, float s_plus, float s_minus,
                   double gap, double *found) {
    for (int block = 0; block < networks / LANES; block++) {
        bits s[4];
        for (int word = 0; word < 4; word++)
            for (int k = 0; k < LANES; k++) s[word][k] = states[(long)word * networks + block * LANES + k];
        wide r = sqrt(2 * gap) - (wide){0}, first = 1 - (wide){0}, second = first;
        for (int layer = 0; layer < depth; layer++) {
            wide sums[3];
            rows(n, s_plus, s_minus, r, s, sums);
            double weight = -2 * M_LN2 * scale;
            wide a = sums[0] * weight, b = sums[1] * weight, c = sums[2] * weight;
            wide last = a + r * (2 * b + r * c), product = root(a * last), along = a + r * b;
            truth obtuse = along < 0;
            wide over = pick(obtuse, (product - along) / (r * r), a * c - b * b);
            wide under = product * pick(obtuse, 1 - (wide){0}, product + along);
            first *= a;
            second *= last;
            r *= root(2 * over / under);
        }
        for (int k = 0; k < LANES; k++) {
            double *to = found + 3L * (block * LANES + k);
            to[0] = first[k];
            to[1] = second[k];
            to[2] = r[k];
        }
    }
}
