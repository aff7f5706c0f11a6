"""Models: from a checkpoint's files to a transformer in memory, and the caches of its sequences.

`checkpoint` opens the files of a family, `weights` builds the transformer and fills it, `lora`
adds an adapter; `cache` and `paged_cache` keep keys and values.
"""
