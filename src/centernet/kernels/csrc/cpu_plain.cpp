// The kernels for any processor; on x86-64 its base instructions (SSE2).
#define DCN_ISA plain
#define DCN_VECTOR_BYTES 16
#define DCN_ROWS 6
#include "cpu_kernels.h"
