/* The functions of one instruction set, except for the products (`products.c`), which alone may fuse multiply and add. */

#include "cells.c"
#undef EACH_UNIT

#include "sequence.c"

#include "stack.c"

#include "filters.c"

#include "draw.c"

#include "generate.c"

#define QUOTE_(text) #text
#define QUOTE(text) QUOTE_(text)

const Kernels NAME(kernels) = {
    .name = QUOTE(ISA),
    .bf16 = HAS_BF16,
    .sequence_forward = NAME(sequence_forward),
    .sequence_backward = NAME(sequence_backward),
    .row_product = NAME(row_product),
    .stack_run = NAME(stack_run),
    .exact_product = NAME(exact_product),
    .lstm_forward = step_lstm_forward,
    .lstm_backward = step_lstm_backward,
    .gru_forward = step_gru_forward,
    .gru_backward = step_gru_backward,
    .rnn_forward = step_rnn_forward,
    .rnn_backward = step_rnn_backward,
    .draw = NAME(draw),
    .generate = NAME(generate),
};
