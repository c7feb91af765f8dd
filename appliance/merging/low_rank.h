/* The sum for one width of the processor's registers; low_rank.c includes this with what is named here set:
 *
 *   NAME    what the width is called         LANES  numbers in a register
 *   TARGET  the processor it is compiled for PARTS  registers of a row that are worked on at once
 *                                            ROWS   so many rows at once: then their products stay in registers
 */
#define JOIN(one, other) one##_##other
#define NAMED(what, name) JOIN(what, name)
#define floats NAMED(floats, NAME)
#define words NAMED(words, NAME)
#define halves NAMED(halves, NAME)
#define upper NAMED(upper, NAME)
#define add_tile NAMED(add_tile, NAME)
#define TILE (LANES * PARTS)

typedef float floats __attribute__((vector_size(4 * LANES), aligned(1), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * LANES), aligned(1), may_alias));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(1), may_alias));

/* The nearest bfloat16, ties to even. A NaN stays one: its lower half is zero (see numbers.py). */
TARGET static inline __attribute__((always_inline)) words upper(words bits)
{
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

/* `rows` of at most ROWS rows, and TILE columns, from (row, column) on. */
TARGET static inline __attribute__((always_inline)) void
add_tile(const struct sum *sum, size_t row, size_t column, size_t rows)
{
    const float *const left = sum->left + row * sum->rank;
    const float *const right = sum->right + column;
    floats product[ROWS][PARTS];

    for (size_t r = 0; r < ROWS; r++)
        for (size_t part = 0; part < PARTS; part++)
            product[r][part] = (floats){0};
    for (size_t k = 0; k < sum->rank; k++) {
        floats across[PARTS];
        for (size_t part = 0; part < PARTS; part++)
            across[part] = *(const floats *)(right + k * sum->columns + part * LANES);
        for (size_t r = 0; r < ROWS; r++) {
            /* The first row stands for those that are not there. */
            const float down = left[(r < rows ? r : 0) * sum->rank + k];
            for (size_t part = 0; part < PARTS; part++)
                product[r][part] += down * across[part];
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t part = 0; part < PARTS; part++) {
            const size_t at = (row + r) * sum->columns + column + part * LANES;
            floats value = product[r][part];
            if (sum->scale != 1) {
                value *= sum->scale;
                __asm__("" : "+m"(value)); /* rounded, before it is added */
            }
            if (sum->bfloat16) {
                halves *const weight = (halves *)(sum->stored + 2 * at);
                if (sum->rounded)
                    value = (floats)(upper((words)value) << 16);
                value += (floats)(__builtin_convertvector(*weight, words) << 16);
                *weight = __builtin_convertvector(upper((words)value), halves);
            } else {
                *(floats *)(sum->stored + 4 * at) += value;
            }
        }
}

/* 0: not for this number of columns. */
TARGET static int NAMED(add, NAME)(const struct sum *sum)
{
    if (sum->columns % TILE)
        return 0;
    for (size_t column = 0; column < sum->columns; column += TILE) {
        const size_t whole = sum->rows - sum->rows % ROWS;
        for (size_t row = 0; row < whole; row += ROWS)
            add_tile(sum, row, column, ROWS);
        if (whole < sum->rows)
            add_tile(sum, whole, column, sum->rows - whole);
    }
    return 1;
}

#undef floats
#undef words
#undef halves
#undef upper
#undef add_tile
#undef JOIN
#undef NAMED
#undef TILE
#undef NAME
#undef TARGET
#undef LANES
#undef PARTS
#undef ROWS
