"""The arithmetic of a network: ``--precision``."""

#: float32 throughout: the metrics of any other device, to rounding
FP32 = 'fp32'
#: float32, but products of TF32 operands
TF32 = 'tf32'
#: float16, but float32 in batch normalization, in sums, and after the heads
FP16 = 'fp16'
#: on CPUs: products of bfloat16 operands, float32 elsewhere
BF16 = 'bf16'
PRECISIONS = (FP32, TF32, FP16, BF16)
