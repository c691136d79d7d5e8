/* Suffix arrays: construction in linear time by induced sorting (Nong, Zhang & Chan, 2009), and search. */

#include "native.h"

#include <stdlib.h>

/* Sort all suffixes into `out`, given those that begin at a leftmost S-type (LMS) symbol in their order. */
static void induce(const int32_t *s, int32_t n, const uint8_t *s_type, int32_t symbols, const int32_t *ends,
                   int32_t *heads, const int32_t *lms, int32_t count, int32_t *out) {
    for (int32_t i = 0; i < n; i++) out[i] = -1;
    memcpy(heads, ends, sizeof(int32_t) * symbols);
    for (int32_t i = count; i-- > 0;) out[--heads[s[lms[i]]]] = lms[i];
    heads[0] = 0; /* from here on, the slot of the next L-type suffix of each symbol */
    memcpy(heads + 1, ends, sizeof(int32_t) * (symbols - 1));
    out[heads[s[n - 1]]++] = n - 1; /* before the empty suffix, which comes first */
    for (int32_t i = 0; i < n; i++) {
        const int32_t before = out[i] - 1;
        if (before >= 0 && !s_type[before]) out[heads[s[before]]++] = before;
    }
    memcpy(heads, ends, sizeof(int32_t) * symbols);
    for (int32_t i = n; i-- > 0;) {
        const int32_t before = out[i] - 1;
        if (before >= 0 && s_type[before]) out[--heads[s[before]]] = before;
    }
}

static int equal_lms_substrings(const int32_t *s, const uint8_t *s_type, int32_t n, int32_t a, int32_t b) {
    for (int32_t i = 0;; i++) {
        if (a + i == n || b + i == n || s[a + i] != s[b + i] || s_type[a + i] != s_type[b + i]) return 0;
        if (i && s_type[a + i] && !s_type[a + i - 1]) return s_type[b + i] && !s_type[b + i - 1];
        if (i && s_type[b + i] && !s_type[b + i - 1]) return 0;
    }
}

/* Write the sorted suffixes of `s`, whose symbols are below `alphabet`. Returns 0, or 1 when out of memory. */
EXPORT int seqgen_suffix_array(const int32_t *s, long length, long alphabet, int32_t *out) {
    const int32_t n = (int32_t)length, symbols = (int32_t)alphabet;
    if (n < 2) {
        if (n) out[0] = 0;
        return 0;
    }
    uint8_t *s_type = malloc(n);
    int32_t *ends = calloc(2 * (size_t)symbols, sizeof(int32_t)), *heads = ends + symbols;
    int32_t *lms = malloc(sizeof(int32_t) * ((size_t)n / 2 + 1)), *names = NULL, *reduced = NULL;
    int failed = 1;
    if (!s_type || !ends || !lms) goto out;
    int32_t count = 0;
    s_type[n - 1] = 0;
    for (int32_t i = n - 1; i-- > 0;) s_type[i] = s[i] == s[i + 1] ? s_type[i + 1] : s[i] < s[i + 1];
    for (int32_t i = 0; i < n; i++) ends[s[i]]++;
    for (int32_t c = 1; c < symbols; c++) ends[c] += ends[c - 1];
    for (int32_t i = 1; i < n; i++)
        if (s_type[i] && !s_type[i - 1]) lms[count++] = i;
    induce(s, n, s_type, symbols, ends, heads, lms, count, out);
    if (count > 1) {
        /* The LMS substrings are sorted now; each is named by its rank, and if two are equal, the suffixes of the
         * string of names decide their order. */
        names = malloc(sizeof(int32_t) * ((size_t)n / 2 + 1));
        reduced = malloc(sizeof(int32_t) * (size_t)count);
        if (!names || !reduced) goto out;
        int32_t rank = 0, last = -1;
        for (int32_t i = 0; i < n; i++) {
            const int32_t at = out[i];
            if (at < 1 || !s_type[at] || s_type[at - 1]) continue;
            if (last >= 0 && !equal_lms_substrings(s, s_type, n, last, at)) rank++;
            last = at;
            names[at / 2] = rank; /* LMS positions are never adjacent */
        }
        for (int32_t i = 0; i < count; i++) reduced[i] = names[lms[i] / 2];
        if (rank + 1 < count) {
            if (seqgen_suffix_array(reduced, count, rank + 1, names)) goto out;
        } else
            for (int32_t i = 0; i < count; i++) names[reduced[i]] = i;
        for (int32_t i = 0; i < count; i++) reduced[i] = lms[names[i]];
        induce(s, n, s_type, symbols, ends, heads, reduced, count, out);
    }
    failed = 0;
out:
    free(s_type);
    free(ends);
    free(lms);
    free(names);
    free(reduced);
    return failed;
}

/* Compare the suffix at `start` with a pattern, as far as the pattern goes: below 0 if the suffix is smaller. */
static int compare_prefix(const uint8_t *text, long n, long start, const uint8_t *pattern, long size) {
    const long available = n - start < size ? n - start : size;
    const int order = memcmp(text + start, pattern, (size_t)available);
    return order ? order : available < size ? -1 : 0;
}

/* Find the range of `suffixes`, of n bytes of text, that begin with `pattern`: found[0] up to found[1]. */
EXPORT void seqgen_suffix_find(const uint8_t *text, long n, const int32_t *suffixes, const uint8_t *pattern, long size,
                          int64_t *found) {
    long low = 0, high = n;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (compare_prefix(text, n, suffixes[middle], pattern, size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    found[0] = found[1] = low;
    if (low == n || compare_prefix(text, n, suffixes[low], pattern, size)) return;
    for (high = n; low < high;) {
        const long middle = low + (high - low) / 2;
        if (compare_prefix(text, n, suffixes[middle], pattern, size) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    found[1] = low;
}
