/* Several steps of generation in one call: the network (`stack.c`), the texts' constraints and the draws (`draw.c`) in
 * turn. */

/* The ids that a text may take next, or null where all may. `room`: memory for a mask. */
static const uint8_t *allowed_ids(const Constraint *c, long vocabulary, uint8_t *room) {
    if (!c || c->over) return NULL;
    const Transitions *row = c->rows[c->row];
    if (row->most <= c->left) return row->mask;
    for (long i = 0; i < vocabulary; i++) room[i] = row->min_remaining[i] <= c->left;
    return room;
}

static void take_id(Constraint *c, long vocabulary, int32_t id) {
    if (!c || c->over) return;
    const Transitions *row = c->rows[c->row];
    const int32_t next = row->next[id];
    c->left -= row->characters[id];
    c->taken++;
    c->waits = next < 0;
    if (c->waits) return;
    c->row = next;
    row = c->rows[next];
    int continues = row->continues;
    if (row->most > c->left) {
        continues = 0;
        for (long i = 0; i < vocabulary; i++) continues |= row->writes[i] & (row->min_remaining[i] <= c->left);
    }
    c->over = !continues;
}

/* Returns the number of steps made, or −1 where there is no memory. It ends early where an id was drawn whose row of
 * `table` is missing: the first layer's part of the gates by id, shape (vocabulary, gates · units); in_table: whether a
 * row is there, which it must be for the given ids. It also ends where a constraint waits, as none may at the beginning.
 *
 * f, streams, constraints: filters, stream and constraint (or null) of each row. numbers: shape (rows, stride, 2), of
 * which each step takes the next pair. ids: shape (steps + 1, rows), of which the first row is given; logs: shape
 * (steps, rows). old, new: states, as in `stack_run`. */
int NAME(generate)(const Stack *m, const Filters *const *f, Streams *const *streams, Constraint *const *constraints,
                   long steps, long rows, const float *table, const uint8_t *in_table, const double *numbers,
                   long stride, int32_t *ids, double *logs, const float *old, float *new) {
    const long width = STACK_GATES[m->cell] * m->units, vocabulary = m->vocabulary;
    Row row;
    allocate_row(&row, vocabulary, longest_window(f, rows));
    float *x = malloc(sizeof(float) * rows * (width + vocabulary) + vocabulary), *logits = x + rows * width;
    uint8_t *room = (uint8_t *)(logits + rows * vocabulary);
    int step = row.x && x ? 0 : -1;
    for (; step >= 0 && step < steps; step++, ids += rows, logs += rows, numbers += 2, old = new) {
        long ready = 0;
        while (ready < rows && in_table[ids[ready]] && !(constraints[ready] && constraints[ready]->waits)) ready++;
        if (ready < rows) break;
        for (long i = 0; i < rows; i++) memcpy(x + i * width, table + ids[i] * width, sizeof(float) * width);
        if (NAME(stack_run)(m, 1, rows, x, old, new, logits, NULL)) {
            step = -1;
            break;
        }
        for (long i = 0; i < rows; i++) {
            ids[rows + i] = draw_row(f[i], streams[i], 0, &row, logits + i * vocabulary, NULL,
                                     allowed_ids(constraints[i], vocabulary, room), numbers + 2 * stride * i, logs + i);
            take_id(constraints[i], vocabulary, ids[rows + i]);
        }
    }
    free(row.x);
    free(x);
    return step;
}
