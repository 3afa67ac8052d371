"""Kernels of a program's text, by who makes them."""

from pangu_jax.planner.kernel_counts import kernel_counts

PROGRAM = """HloModule jit_f, is_scheduled=true

%inside (a: bf16[8,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} parameter(0)
  ROOT %exp = bf16[8,8]{1,0} exponential(%a)
}

%cut (a: bf16[8,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} parameter(0)
  ROOT %copy.1 = bf16[8,8]{1,0} copy(%a)
}

%product (a: bf16[8,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} parameter(0)
  ROOT %p = bf16[8,8]{1,0} custom-call(%a, %a), custom_call_target="__cublas$lt$matmul"
}

%body (a: bf16[8,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} parameter(0)
  %one = bf16[8,8]{1,0} custom-call(%a, %a), custom_call_target="__cublas$lt$matmul"
  ROOT %two = bf16[8,8]{1,0} fusion(%one), kind=kLoop, calls=%inside
}

%condition (a: bf16[8,8]) -> pred[] {
  %a = bf16[8,8]{1,0} parameter(0)
  ROOT %no = pred[] constant(false)
}

ENTRY %main (a: bf16[8,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} parameter(0)
  %loop = bf16[8,8]{1,0} while(%a), condition=%condition, body=%body
  %gather-start = (bf16[8,8]{1,0}, bf16[64,8]{1,0}) all-gather-start(%loop), dimensions={0}
  %norm = bf16[8,8]{1,0} fusion(%loop), kind=kCustom, calls=%inside, \
backend_config={"fusion_backend_config":{"kind":"__triton"}}
  %slice = bf16[8,8]{1,0} fusion(%norm), kind=kCustom, calls=%cut, \
backend_config={"fusion_backend_config":{"kind":"__custom_fusion"}}
  %sliced = bf16[8,8]{1,0} fusion(%slice), kind=kCustom, calls=%product, \
backend_config={"fusion_backend_config":{"kind":"__custom_fusion"}}
  %attended = bf16[8,8]{1,0} custom-call(%sliced), custom_call_target="__cudnn$fmhaSoftmax"
  %short = bf16[8,8]{1,0} custom-call(%attended), custom_call_target="__gpu$xla.gpu.triton"
  %gather-done = bf16[64,8]{1,0} all-gather-done(%gather-start)
  ROOT %sorted = bf16[8,8]{1,0} sort(%short), dimensions={0}, to_apply=%inside
}
"""


def test_each_kernel_once_and_what_is_fused_in_its_fusion():
    assert kernel_counts(PROGRAM) == {
        "cublas_products": 2,  # one of the loop, one on a slice
        "fusions": 1,
        "triton_fusions": 1,
        "copies": 1,
        "cudnn_attention": 1,
        "pallas": 1,
        "others": 1,
    }
