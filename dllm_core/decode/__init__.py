"""Decoding: from a prompt in a cache to the steps of a reply.

`host_backend` batches the replies under way; each is a `reply_state` of canvases, which are
denoised by `diffusion` or `fixed_point` under the rules of `unmask` and told by `reply_steps`.
"""
