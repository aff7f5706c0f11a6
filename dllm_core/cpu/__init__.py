"""Kernels of a CPU: quantised products and attention, compiled when they are first needed.

| file | what |
|---|---|
| emit.py | vectors of 16 lanes, loops, shared counters, over LLVM's instructions |
| jit.py | LLVM IR to machine code for this processor |
| team.py | a compiled kernel on torch's own threads |
| packed.py | weights of 4 or 8 bits, laid out as the kernel reads them |
| product_kernel.py, product.py | rows times packed weights, with what surrounds them in a layer |
| attention_kernel.py, attention.py | rotary positions, keys and values, attention |
| prediction_kernel.py, prediction.py | the best token of every row, and what the others weigh |
| workspace.py | memory that kernels use while they run |

The plain version of each is what torch computes from `PackedRows.unpacked` and in `model.py`;
`tests/test_cpu_*.py` hold the kernels to it.
"""
