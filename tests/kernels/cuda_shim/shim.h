// Included before everything else: tensors of the CPU are taken for those of a GPU, and limits are variables.
#pragma once

#include <stdint.h>

extern "C" {
extern int64_t shim_most_blocks, shim_most_narrow, shim_column_bytes;
extern int64_t shim_launches[2];  // with indices of 32 and of 64 bits
extern int64_t shim_most_steps;   // items that one thread took in a row
}

#define DCN_CUDA
#define DCN_MOST_BLOCKS shim_most_blocks
#define DCN_MOST_NARROW shim_most_narrow
#define DCN_COLUMN_BYTES shim_column_bytes
