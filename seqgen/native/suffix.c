/* Suffix arrays: built in linear time by induced sorting (Nong, Zhang & Chan, 2009), and searched. */

#include "native.h"

#include <stdlib.h>

/* Sorts all suffixes into `out`, given those that begin at a leftmost S-type symbol, in their order. */
static void induce(const int32_t *s, int32_t n, const uint8_t *rising, int32_t symbols, const int32_t *ends,
                   int32_t *heads, const int32_t *leftmost, int32_t count, int32_t *out) {
    for (int32_t i = 0; i < n; i++) out[i] = -1;
    memcpy(heads, ends, sizeof(int32_t) * symbols);
    for (int32_t i = count; i-- > 0;) out[--heads[s[leftmost[i]]]] = leftmost[i];
    heads[0] = 0; /* from here on where the next falling suffix of each symbol goes */
    memcpy(heads + 1, ends, sizeof(int32_t) * (symbols - 1));
    out[heads[s[n - 1]]++] = n - 1; /* before the empty suffix, which comes first */
    for (int32_t i = 0; i < n; i++) {
        const int32_t before = out[i] - 1;
        if (before >= 0 && !rising[before]) out[heads[s[before]]++] = before;
    }
    memcpy(heads, ends, sizeof(int32_t) * symbols);
    for (int32_t i = n; i-- > 0;) {
        const int32_t before = out[i] - 1;
        if (before >= 0 && rising[before]) out[--heads[s[before]]] = before;
    }
}

static int same(const int32_t *s, const uint8_t *rising, int32_t n, int32_t a, int32_t b) {
    for (int32_t i = 0;; i++) {
        if (a + i == n || b + i == n || s[a + i] != s[b + i] || rising[a + i] != rising[b + i]) return 0;
        if (i && rising[a + i] && !rising[a + i - 1]) return rising[b + i] && !rising[b + i - 1];
        if (i && rising[b + i] && !rising[b + i - 1]) return 0;
    }
}

/* The suffixes of `s`, n symbols below `symbols`, in their order. Returns 0, or 1 where there is no memory. */
int seqgen_suffixes(const int32_t *s, long length, long alphabet, int32_t *out) {
    const int32_t n = (int32_t)length, symbols = (int32_t)alphabet;
    if (n < 2) {
        if (n) out[0] = 0;
        return 0;
    }
    uint8_t *rising = malloc(n);
    int32_t *ends = calloc(2 * (size_t)symbols, sizeof(int32_t)), *heads = ends + symbols;
    int32_t *leftmost = malloc(sizeof(int32_t) * ((size_t)n / 2 + 1)), *names = NULL, *reduced = NULL;
    int failed = 1;
    if (!rising || !ends || !leftmost) goto out;
    int32_t count = 0;
    rising[n - 1] = 0;
    for (int32_t i = n - 1; i-- > 0;) rising[i] = s[i] == s[i + 1] ? rising[i + 1] : s[i] < s[i + 1];
    for (int32_t i = 0; i < n; i++) ends[s[i]]++;
    for (int32_t c = 1; c < symbols; c++) ends[c] += ends[c - 1];
    for (int32_t i = 1; i < n; i++)
        if (rising[i] && !rising[i - 1]) leftmost[count++] = i;
    induce(s, n, rising, symbols, ends, heads, leftmost, count, out);
    if (count > 1) {
        /* Runs from one such place to the next are sorted now; each gets the number of its rank, and if two are alike
         * the suffixes of the string of these numbers say which comes first. */
        names = malloc(sizeof(int32_t) * ((size_t)n / 2 + 1));
        reduced = malloc(sizeof(int32_t) * (size_t)count);
        if (!names || !reduced) goto out;
        int32_t kinds = 0, last = -1;
        for (int32_t i = 0; i < n; i++) {
            const int32_t at = out[i];
            if (at < 1 || !rising[at] || rising[at - 1]) continue;
            if (last >= 0 && !same(s, rising, n, last, at)) kinds++;
            last = at;
            names[at / 2] = kinds; /* two of them never stand side by side */
        }
        for (int32_t i = 0; i < count; i++) reduced[i] = names[leftmost[i] / 2];
        if (kinds + 1 < count) {
            if (seqgen_suffixes(reduced, count, kinds + 1, names)) goto out;
        } else
            for (int32_t i = 0; i < count; i++) names[reduced[i]] = i;
        for (int32_t i = 0; i < count; i++) reduced[i] = leftmost[names[i]];
        induce(s, n, rising, symbols, ends, heads, reduced, count, out);
    }
    failed = 0;
out:
    free(rising);
    free(ends);
    free(leftmost);
    free(names);
    free(reduced);
    return failed;
}

/* How a pattern compares with the beginning of the suffix at `place`: below 0 where the suffix comes before it. */
static int compare(const uint8_t *text, long n, long place, const uint8_t *pattern, long size) {
    const long there = n - place < size ? n - place : size;
    const int order = memcmp(text + place, pattern, (size_t)there);
    return order ? order : there < size ? -1 : 0;
}

/* The range of `suffixes`, of n bytes of text, that begin with `pattern`: found[0] to found[1]. */
void seqgen_suffixes_find(const uint8_t *text, long n, const int32_t *suffixes, const uint8_t *pattern, long size,
                          int64_t *found) {
    long low = 0, high = n;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (compare(text, n, suffixes[middle], pattern, size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    found[0] = found[1] = low;
    if (low == n || compare(text, n, suffixes[low], pattern, size)) return;
    for (high = n; low < high;) {
        const long middle = low + (high - low) / 2;
        if (compare(text, n, suffixes[middle], pattern, size) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    found[1] = low;
}
