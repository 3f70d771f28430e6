// The variables of shim.h.
extern "C" {
int64_t shim_most_blocks = 1 << 20, shim_most_narrow = INT32_MAX, shim_column_bytes = 256 << 20;
int64_t shim_launches[2] = {0, 0};
int64_t shim_most_steps = 0;
}
