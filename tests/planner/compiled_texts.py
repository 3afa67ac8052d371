"""Optimised HLO as the TPU compiler prints it, shortened by hand, for tests of the count."""

# A scan over a fused product, as libtpu 0.0.42 prints it; the loop's limit and step are to fill in.
LOOP = """HloModule jit_f, is_scheduled=true

%fused_computation (param_0.1: f32[256,512], param_1.2: f32[512,512]) -> f32[256,512] {{
  %param_0.1 = f32[256,512]{{1,0:T(8,128)}} parameter(0)
  %param_1.2 = f32[512,512]{{1,0:T(8,128)}} parameter(1)
  ROOT %convolution.3 = f32[256,512]{{1,0:T(8,128)}} convolution(%param_0.1, %param_1.2), dim_labels=bf_io->bf
}}

%body.1 (param.1: (s32[], f32[256,512], f32[512,512])) -> (s32[], f32[256,512], f32[512,512]) {{
  %constant.9 = s32[]{{:T(128)}} constant({step})
  %param.1 = (s32[]{{:T(128)}}, f32[256,512]{{1,0:T(8,128)}}, f32[512,512]{{1,0:T(8,128)}}) parameter(0)
  %get-tuple-element.1 = s32[]{{:T(128)}} get-tuple-element(%param.1), index=0
  %copy.5 = s32[]{{:T(128)S(6)}} copy(%get-tuple-element.1)
  %add.7 = s32[]{{:T(128)}} add(%copy.5, %constant.9), metadata={{op_name="jit(f)/while/body/add"}}
  %get-tuple-element.2 = f32[256,512]{{1,0:T(8,128)}} get-tuple-element(%param.1), index=1
  %get-tuple-element.3 = f32[512,512]{{1,0:T(8,128)}} get-tuple-element(%param.1), index=2
  %fusion.4 = f32[256,512]{{1,0:T(8,128)}} fusion(%get-tuple-element.2, %get-tuple-element.3), kind=kOutput, \
calls=%fused_computation, metadata={{op_name="jit(f)/while/body/dot_general"}}, \
backend_config={{"window_config":{{"estimated_cycles":"3500"}}}}
  ROOT %tuple.8 = (s32[]{{:T(128)}}, f32[256,512]{{1,0:T(8,128)}}, f32[512,512]{{1,0:T(8,128)}}) \
tuple(%add.7, %fusion.4, %get-tuple-element.3)
}}

%condition.1 (param.2: (s32[], f32[256,512], f32[512,512])) -> pred[] {{
  %constant.11 = s32[]{{:T(128)}} constant({limit})
  %param.2 = (s32[]{{:T(128)}}, f32[256,512]{{1,0:T(8,128)}}, f32[512,512]{{1,0:T(8,128)}}) parameter(0)
  %get-tuple-element.12 = s32[]{{:T(128)}} get-tuple-element(%param.2), index=0
  ROOT %lt.13 = pred[]{{:T(512)}} compare(%get-tuple-element.12, %constant.11), direction=LT
}}

ENTRY %main.20_spmd (param.3: f32[256,512], param.4: f32[512,512]) -> f32[256,512] {{
  %constant.21 = s32[]{{:T(128)}} constant(0)
  %param.3 = f32[256,512]{{1,0:T(8,128)}} parameter(0)
  %param.4 = f32[512,512]{{1,0:T(8,128)}} parameter(1)
  %copy.22 = s32[]{{:T(128)}} copy(%constant.21)
  %tuple.23 = (s32[]{{:T(128)}}, f32[256,512]{{1,0:T(8,128)}}, f32[512,512]{{1,0:T(8,128)}}) tuple(%copy.22, \
%param.3, %param.4)
  %while.24 = (s32[]{{:T(128)}}, f32[256,512]{{1,0:T(8,128)}}, /*index=2*/f32[512,512]{{1,0:T(8,128)}}) \
while(%tuple.23), condition=%condition.1, body=%body.1
  ROOT %get-tuple-element.25 = f32[256,512]{{1,0:T(8,128)}} get-tuple-element(%while.24), index=1
}}
"""

# One product of 1 ms (1.75e6 cycles) with whatever stands before and after it.
AROUND = """HloModule jit_g, is_scheduled=true

%sum (a.1: bf16[], b.2: bf16[]) -> bf16[] {{
  %a.1 = bf16[] parameter(0)
  %b.2 = bf16[] parameter(1)
  ROOT %add.3 = bf16[] add(%a.1, %b.2)
}}

%called_computation (param_0.4: bf16[64,1000,1000], param_1.5: token[]) -> bf16[512,1000,1000] {{
  %param_1.5 = token[] parameter(1)
  %param_0.4 = bf16[64,1000,1000]{{2,1,0:T(8,128)(2,1)}} parameter(0)
  ROOT %all-gather.6 = bf16[512,1000,1000]{{2,1,0:T(8,128)(2,1)}} all-gather(%param_0.4), channel_id=1, \
replica_groups={groups}, dimensions={{0}}, use_global_device_ids=true
}}, execution_thread="sparsecore"

%fused_computation (param_0.1: bf16[64,1000,1000]) -> bf16[64,1000,1000] {{
  %param_0.1 = bf16[64,1000,1000]{{2,1,0:T(8,128)(2,1)}} parameter(0)
  ROOT %negate.2 = bf16[64,1000,1000]{{2,1,0:T(8,128)(2,1)}} negate(%param_0.1)
}}

ENTRY %main.9_spmd (param.1: bf16[64,1000,1000]) -> bf16[64,1000,1000] {{
  %param.1 = bf16[64,1000,1000]{{2,1,0:T(8,128)(2,1)}} parameter(0)
  %before_token.1 = token[] custom-call(), custom_call_target="PrepareAsyncCallDone"
{before}
  ROOT %fusion.7 = bf16[64,1000,1000]{{2,1,0:T(8,128)(2,1)}} fusion(%param.1), kind=kLoop, \
calls=%fused_computation, metadata={{op_name="jit(g)/neg"}}, \
backend_config={{"window_config":{{"estimated_cycles":"1750000"}}}}
{after}
}}
"""

SPARSE_CORE_START = """  %all-gather.7.cloned.1.call-start = \
((bf16[64,1000,1000]{2,1,0:T(8,128)(2,1)}, token[]), \
bf16[512,1000,1000]{2,1,0:T(8,128)(2,1)}) call-start(%param.1, %before_token.1), \
async_execution_thread="sparsecore", to_apply=%called_computation, metadata={op_name="jit(g)/all_gather"}"""
SPARSE_CORE_DONE = """  %all-gather.7.cloned.1.call-done = bf16[512,1000,1000]{2,1,0:T(8,128)(2,1)} \
call-done(%all-gather.7.cloned.1.call-start), metadata={op_name="jit(g)/all_gather"}"""
SYNCHRONOUS = """  %all-gather.8 = bf16[512,1000,1000]{2,1,0:T(8,128)(2,1)} all-gather(%param.1), \
channel_id=1, replica_groups=GROUPS, dimensions={0}, use_global_device_ids=true, \
backend_config={"window_config":{"estimated_cycles":"99"}}"""
PERMUTE_START = """  %collective-permute-start.1 = (bf16[64,1000,1000]{2,1,0}, bf16[64,1000,1000]{2,1,0}, \
u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%param.1), channel_id=1, \
source_target_pairs={{0,64},{64,128},{128,192},{192,256},{256,320},{320,384},{384,448},{448,0}}"""
PERMUTE_DONE = """  %collective-permute-done.1 = bf16[64,1000,1000]{2,1,0} \
collective-permute-done(%collective-permute-start.1)"""

# A causal splash kernel of 4 heads, 4 x 4 blocks: broken over lines, one of them starting with a brace.
SPLASH = """HloModule jit_h, is_scheduled=true

ENTRY %main (param.1: s8[4,4,4], param.2: bf16[2,4,2048,128], param.3: s32[2048,128]) -> bf16[2,4,2048,128] {
  %param.1 = s8[4,4,4]{2,1,0} parameter(0)
  %param.2 = bf16[2,4,2048,128]{3,2,1,0:T(8,128)(2,1)} parameter(1)
  %param.3 = s32[2048,128]{1,0} parameter(2)
  %splash_mha_fwd_residuals.27 = \
(f32[2,2048,128]{2,1,0:T(8,128)}, bf16[2,4,2048,128]{3,2,1,0:T(8,128)(2,1)}) \
custom-call(%param.1, %param.2, %param.2, %param.2, /*index=5*/%param.3), \
custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512, \\"q_layout\\": 1}"
}}, metadata={op_name="jit(h)/splash_mha_fwd_residuals/pallas_call"}, backend_config={"body":"TUzv{"}
  ROOT %get-tuple-element.4 = bf16[2,4,2048,128]{3,2,1,0} \
get-tuple-element(%splash_mha_fwd_residuals.27), index=1
}
"""

# Attention of 49 rows, 64 pictures and 20 heads of 128, as it is written down for TPUs and for GPUs.
SHORT_ON_TPU = """HloModule jit_s, is_scheduled=true

ENTRY %main (param.1: bf16[49,20,3,64,128]) -> bf16[49,20,64,128] {
  %param.1 = bf16[49,20,3,64,128]{4,3,2,1,0:T(8,128)(2,1)} parameter(0)
  ROOT %short_attention.2 = bf16[49,20,64,128]{3,2,1,0:T(8,128)(2,1)} \
custom-call(%param.1, %param.1, %param.1), custom_call_target="tpu_custom_call", \
metadata={op_name="jit(s)/short_attention/pallas_call"}, \
backend_config={"custom_call_config":{"body":"TUzv","cost_estimate":{"flops":"FLOPS","transcendentals":"3",\
"bytes_accessed":"BYTES","remote_bytes_transferred":"0"}}}
}
"""
SHORT_ON_GPU = """HloModule jit_s, is_scheduled=true

ENTRY %main (param.1: bf16[64,49,20,3,128], param.2: bf16[64,49,20,128]) -> bf16[64,49,20,3,128] {
  %param.1 = bf16[64,49,20,3,128]{4,3,2,1,0} parameter(0)
  %param.2 = bf16[64,49,20,128]{3,2,1,0} parameter(1)
  ROOT %pallas_call.3 = bf16[64,49,20,3,128]{4,3,2,1,0} custom-call(%param.1, %param.2), \
custom_call_target="__gpu$xla.gpu.triton", \
metadata={op_name="jit(s)/transpose(jvp(short_attention_backward))/pallas_call"}, backend_config={grid_x = 64}
}
"""

# Two branches, with one product and with two.
BRANCHES = """HloModule jit_k, is_scheduled=true

%small (p.1: f32[64,64]) -> f32[64,64] {
  %p.1 = f32[64,64]{1,0} parameter(0)
  ROOT %dot.1 = f32[64,64]{1,0} dot(%p.1, %p.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%large (p.2: f32[64,64]) -> f32[64,64] {
  %p.2 = f32[64,64]{1,0} parameter(0)
  %dot.2 = f32[64,64]{1,0} dot(%p.2, %p.2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %dot.3 = f32[64,64]{1,0} dot(%dot.2, %p.2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (p.3: s32[], p.4: f32[64,64]) -> f32[64,64] {
  %p.3 = s32[] parameter(0)
  %p.4 = f32[64,64]{1,0} parameter(1)
  ROOT %conditional.5 = f32[64,64]{1,0} conditional(%p.3, %p.4, %p.4), branch_computations={%small, %large}
}
"""

# A reduce-scatter as TPU also writes it: a fused all-reduce, cut to the chip's own part.
FUSED_SCATTER = """HloModule jit_s, is_scheduled=true

%all-reduce-scatter.3.clone.1 (input.1: bf16[160,1024], input.2: bf16[160,1024]) -> bf16[24,1024] {
  %input.1 = bf16[160,1024]{1,0} parameter(0)
  %input.2 = bf16[160,1024]{1,0} parameter(1)
  %all-reduce.30 = (bf16[160,1024]{1,0}, bf16[160,1024]{1,0}) all-reduce(%input.1, %input.2), channel_id=1, \
replica_groups={{0,1,2,3,4,5,6,7}}, use_global_device_ids=true, to_apply=%sum
  %get-tuple-element.2 = bf16[160,1024]{1,0} get-tuple-element(%all-reduce.30), index=0
  %partition-id.3 = u32[] partition-id()
  %constant.4 = u32[] constant(0)
  ROOT %dynamic-slice.5 = bf16[24,1024]{1,0} \
dynamic-slice(%get-tuple-element.2, %partition-id.3, %constant.4), dynamic_slice_sizes={24,1024}
}

ENTRY %main (param.1: bf16[160,1024]) -> bf16[24,1024] {
  %param.1 = bf16[160,1024]{1,0} parameter(0)
  ROOT %fusion.2 = bf16[24,1024]{1,0} fusion(%param.1, %param.1), kind=kCustom, \
calls=%all-reduce-scatter.3.clone.1
}
"""

# As XLA for GPUs writes them, shortened. SAID is what it expects an instruction to take.
PRODUCT_ON_GPU = """HloModule jit_f, is_scheduled=true

ENTRY %main (a: bf16[8,4096,4096], b: bf16[8,4096,4096]) -> OUT[8,4096,4096] {
  %a = bf16[8,4096,4096]{2,1,0} parameter(0)
  %b = bf16[8,4096,4096]{2,1,0} parameter(1)
  %product = (OUT[8,4096,4096]{2,1,0}, s8[4194304]{0}) custom-call(%a, %b), \
custom_call_target="__cublas$lt$matmul", backend_config={"operation_queue_id":"0",\
"gemm_backend_config":{"alpha_real":1,"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],\
"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":[BATCH],"rhs_batch_dimensions":[BATCH]}},SAID}
  ROOT %get-tuple-element = OUT[8,4096,4096]{2,1,0} get-tuple-element(%product), index=0
}
"""
FUSION_ON_GPU = """HloModule jit_f, is_scheduled=true

%fused (x: bf16[4096,4096]) -> bf16[4096,4096] {
  %x = bf16[4096,4096]{1,0} parameter(0)
  ROOT %y = bf16[4096,4096]{1,0} exponential(%x)
}

ENTRY %main (x: bf16[4096,4096]) -> bf16[4096,4096] {
  %x = bf16[4096,4096]{1,0} parameter(0)
  ROOT %fusion = bf16[4096,4096]{1,0} fusion(%x), kind=kCustom, calls=%fused, \
backend_config={"fusion_backend_config":{KIND"block_level":1},SAID}
}
"""
CUDNN_ATTENTION = """HloModule jit_f, is_scheduled=true

ENTRY %main (q: bf16[16,4096,32,128], k: bf16[16,4096,8,128]) -> bf16[16,32,4096,128] {
  %q = bf16[16,4096,32,128]{3,2,1,0} parameter(0)
  %k = bf16[16,4096,8,128]{3,2,1,0} parameter(1)
  %attention = (bf16[16,32,4096,128]{3,1,2,0}, f32[16,32,4096]{2,1,0}, u8[0]{0}) custom-call(%q, %k, %k), \
custom_call_target="__cudnn$fmhaSoftmaxBACKWARD", \
metadata={op_name="jit(f)/dot_product_attention_fwd"}, \
backend_config={"cudnn_fmha_backend_config": {"fmha_scale": 0.125, "intermediate_tensor_shape": \
{"element_type": "BF16", "dimensions": ["16", "32", "4096", "4096"]}, "mask_type": "MASK"}}
  ROOT %out = bf16[16,32,4096,128]{3,1,2,0} get-tuple-element(%attention), index=0
}
"""

# What the compiler says no cycles of: rows gathered in a fusion, a sort, a scatter; a bitcast takes nothing.
BY_PLACE = """HloModule jit_p, is_scheduled=true

%fused_computation.1 (param_0.1: bf16[512,256], param_1.2: s32[512]) -> bf16[512,256] {
  %param_0.1 = bf16[512,256]{1,0:T(8,128)(2,1)} parameter(0)
  %param_1.2 = s32[512]{0:T(512)} parameter(1)
  ROOT %gather.3 = bf16[512,256]{1,0:T(8,128)(2,1)} gather(%param_0.1, %param_1.2), offset_dims={1}, \
collapsed_slice_dims={0}, start_index_map={0}, index_vector_dim=1, slice_sizes={1,256}
}

%less (a.1: s32[], b.2: s32[]) -> pred[] {
  %a.1 = s32[] parameter(0)
  %b.2 = s32[] parameter(1)
  ROOT %compare.3 = pred[] compare(%a.1, %b.2), direction=LT
}

%take (a.4: bf16[], b.5: bf16[]) -> bf16[] {
  %a.4 = bf16[] parameter(0)
  ROOT %b.5 = bf16[] parameter(1)
}

ENTRY %main (param.1: bf16[512,256], param.2: s32[512], param.3: s32[4096]) -> bf16[512,256] {
  %param.1 = bf16[512,256]{1,0:T(8,128)(2,1)} parameter(0)
  %param.2 = s32[512]{0:T(512)} parameter(1)
  %param.3 = s32[4096]{0:T(1024)} parameter(2)
  %gather_fusion.4 = bf16[512,256]{1,0:T(8,128)(2,1)} fusion(%param.1, %param.2), kind=kCustom, \
calls=%fused_computation.1
  %sort.5 = s32[4096]{0:T(1024)} sort(%param.3), dimensions={0}, to_apply=%less
  %bitcast.6 = s32[4096]{0:T(1024)} bitcast(%sort.5)
  ROOT %scatter.7 = bf16[512,256]{1,0:T(8,128)(2,1)} scatter(%param.1, %param.2, %gather_fusion.4), \
update_window_dims={1}, inserted_window_dims={0}, scatter_dims_to_operand_dims={0}, index_vector_dim=1, \
to_apply=%take
}
"""
