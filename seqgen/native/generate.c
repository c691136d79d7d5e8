/* Several steps of generation in one call: the network (`stack.c`) and the draws (`draw.c`) in turn. */

/* Returns the number of steps made, or −1 where there is no memory. It ends early where an id was drawn whose row of
 * `table` is missing: the first layer's part of the gates by id, shape (vocabulary, gates · units); in_table: whether a
 * row is there, which it must be for the given ids.
 *
 * f, streams: filters and stream of each row. numbers: shape (rows, stride, 2), of which each step takes the next pair.
 * ids: shape (steps + 1, rows), of which the first row is given; logs: shape (steps, rows). old, new: states, as in
 * `stack_run`. */
int NAME(generate)(const Stack *m, const Filters *const *f, Streams *const *streams, long steps, long rows,
                   const float *table, const uint8_t *in_table, const double *numbers, long stride, int32_t *ids,
                   double *logs, const float *old, float *new) {
    const long width = STACK_GATES[m->cell] * m->units, vocabulary = m->vocabulary;
    Row row;
    allocate_row(&row, vocabulary, longest_window(f, rows));
    float *x = malloc(sizeof(float) * rows * (width + vocabulary)), *logits = x + rows * width;
    int step = row.x && x ? 0 : -1;
    for (; step >= 0 && step < steps; step++, ids += rows, logs += rows, numbers += 2, old = new) {
        long known = 0;
        while (known < rows && in_table[ids[known]]) known++;
        if (known < rows) break;
        for (long i = 0; i < rows; i++) memcpy(x + i * width, table + ids[i] * width, sizeof(float) * width);
        if (NAME(stack_run)(m, 1, rows, x, old, new, logits, NULL)) {
            step = -1;
            break;
        }
        for (long i = 0; i < rows; i++)
            ids[rows + i] = draw_row(f[i], streams[i], 0, &row, logits + i * vocabulary, NULL, NULL,
                                     numbers + 2 * stride * i, logs + i);
    }
    free(row.x);
    free(x);
    return step;
}
