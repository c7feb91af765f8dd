/* weight += scale * left @ right in one pass over the weight: what numpy does in ten.
 *
 * Built by `make` into low_rank.so where there is a C compiler; compiled.py calls it. The same bits as numpy's way in
 * changes.py: the products of one element in the order of the ranks, each added with one rounding (fused multiply-add),
 * the sum with the weight rounded once, ties to even.
 */
#include <stddef.h>
#include <stdint.h>

/* Rows of the weight that lie one behind the other, at any address (in a file they may begin at an odd one);
 * left (rows, rank), right (rank, columns). */
struct sum {
    char *stored;
    const float *left, *right;
    size_t rows, columns, rank;
    float scale;
    int bfloat16; /* else float32 */
    int rounded;  /* the product to bfloat16, before it is added */
};

/* By this compiled.py knows a library of an older source: whoever changes the struct changes its size. */
const size_t sum_size = sizeof(struct sum);

#if defined(__x86_64__)

/* Nothing but what add_low_rank asks the processor for: a virtual one may lack its neighbours. */
#define AVX2 "avx2,fma"
#define AVX512 AVX2 ",avx512f,avx512bw,avx512vl,avx512dq"
#ifdef __clang__ /* which drops all of an attribute that it knows in part */
#define WIDE
#else
#define WIDE ",prefer-vector-width=512"
#endif

#define NAME avx512
#define TARGET __attribute__((target(AVX512 WIDE)))
#define LANES 16
#define PARTS 4
#define ROWS 4
#include "low_rank.h"

#define NAME avx2
#define TARGET __attribute__((target(AVX2)))
#define LANES 8
#define PARTS 2
#define ROWS 4
#include "low_rank.h"

#elif defined(__aarch64__) && defined(__AARCH64EL__)

#define NAME neon
#define TARGET
#define LANES 4
#define PARTS 4
#define ROWS 4
#include "low_rank.h"

#endif

/* 0: this processor, or this number of columns, is not what it is made for; nothing was changed. */
int add_low_rank(const struct sum *sum)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && add_avx512(sum))
        return 1;
    return add_avx2(sum);
#elif defined(__aarch64__) && defined(__AARCH64EL__)
    return add_neon(sum);
#else
    (void)sum;
    return 0;
#endif
}
