"""CPU attention kernels in TIR over the pages of TVM's KV cache: for several new tokens, and for one.

See attention.py for the computation; here a sequence's pages are found and its keys transposed.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.attention import LOG2_E, PAGE, WIDTH, attend_macro


def paged_prefill(heads: int, kv_heads: int, head_dim: int, rows: int) -> Any:
    """PrimFunc: attention of new tokens q [n, heads, d] over all cached tokens of their sequence.

    pages [p, 2, kv, PAGE, d] hold keys (0) and values (1). `causal` has no meaning here: the cache holds
    earlier tokens only.
    """
    attend = attend_macro(heads, kv_heads, head_dim, rows)
    gather = _gather_keys(head_dim)

    @T.prim_func(s_tir=True)
    def attention_paged(
        q_handle: T.handle,
        q_indptr_handle: T.handle,
        pages_handle: T.handle,
        page_indptr_handle: T.handle,
        page_ids_handle: T.handle,
        length_info_handle: T.handle,
        k_offset_handle: T.handle,
        q_position_handle: T.handle,
        output_handle: T.handle,
        lse_handle: T.handle,
        causal: T.int32,
        rotary_mode: T.int32,
        rope_scale: T.float32,
        rope_theta: T.float32,
        sm_scale: T.float32,
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        batch, n, used, pool = T.int32(), T.int32(), T.int32(), T.int32()
        offsets = [T.int32() for _ in range(4)]
        q = T.match_buffer(q_handle, (n, heads, head_dim), "float32")
        q_indptr = T.match_buffer(q_indptr_handle, (batch + 1,), "int32", elem_offset=offsets[0])
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), "float32")
        page_indptr = T.match_buffer(page_indptr_handle, (batch + 1,), "int32", elem_offset=offsets[1])
        page_ids = T.match_buffer(page_ids_handle, (used,), "int32", elem_offset=offsets[2])
        last_page = T.match_buffer(length_info_handle, (batch,), "int32", elem_offset=offsets[3])
        output = T.match_buffer(output_handle, (n, heads, head_dim), "float32")
        lse = T.match_buffer(lse_handle, (n, heads), "float32")
        for b in T.serial(batch):
            for head in T.parallel(kv_heads):
                with T.sblock("head"):
                    first = T.meta_var(page_indptr[b])
                    count = T.meta_var(page_indptr[b + 1] - page_indptr[b])
                    keys = T.sblock_alloc_buffer(((used + 1) // 2, head_dim, WIDTH), "float32")
                    gather(pages, page_ids, first, count, head, keys)
                    attend(
                        q,
                        q_indptr[b],
                        q_indptr[b + 1] - q_indptr[b],
                        head,
                        keys,
                        (used + 1) // 2,
                        T.Select(count > 0, (count - 1) * PAGE + last_page[b], 0),
                        0,
                        _paged_value(pages, page_ids, first, head),
                        sm_scale * T.float32(LOG2_E),
                        output,
                        lse,
                    )

    return attention_paged


def paged_decode(heads: int, kv_heads: int, head_dim: int, rows: int) -> Any:
    """PrimFunc: like `paged_prefill` with one new token a sequence, q [batch, heads, d]."""
    attend = attend_macro(heads, kv_heads, head_dim, rows)
    gather = _gather_keys(head_dim)

    @T.prim_func(s_tir=True)
    def attention_decode(
        q_handle: T.handle,
        pages_handle: T.handle,
        page_indptr_handle: T.handle,
        page_ids_handle: T.handle,
        length_info_handle: T.handle,
        k_offset_handle: T.handle,
        q_position_handle: T.handle,
        output_handle: T.handle,
        lse_handle: T.handle,
        rotary_mode: T.int32,
        rope_scale: T.float32,
        rope_theta: T.float32,
        sm_scale: T.float32,
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        batch, used, pool = T.int32(), T.int32(), T.int32()
        offsets = [T.int32() for _ in range(3)]
        q = T.match_buffer(q_handle, (batch, heads, head_dim), "float32")
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), "float32")
        page_indptr = T.match_buffer(page_indptr_handle, (batch + 1,), "int32", elem_offset=offsets[0])
        page_ids = T.match_buffer(page_ids_handle, (used,), "int32", elem_offset=offsets[1])
        last_page = T.match_buffer(length_info_handle, (batch,), "int32", elem_offset=offsets[2])
        output = T.match_buffer(output_handle, (batch, heads, head_dim), "float32")
        lse = T.match_buffer(lse_handle, (batch, heads), "float32")
        for b in T.serial(batch):
            for head in T.parallel(kv_heads):
                with T.sblock("head"):
                    first = T.meta_var(page_indptr[b])
                    count = T.meta_var(page_indptr[b + 1] - page_indptr[b])
                    keys = T.sblock_alloc_buffer(((used + 1) // 2, head_dim, WIDTH), "float32")
                    gather(pages, page_ids, first, count, head, keys)
                    attend(
                        q,
                        b,
                        1,
                        head,
                        keys,
                        (used + 1) // 2,
                        T.Select(count > 0, (count - 1) * PAGE + last_page[b], 0),
                        0,
                        _paged_value(pages, page_ids, first, head),
                        sm_scale * T.float32(LOG2_E),
                        output,
                        lse,
                    )

    return attention_decode


def _paged_value(pages: Any, page_ids: Any, first: Any, head: Any) -> Any:
    """Reader of cached values of the sequence whose page ids begin at `first`."""
    return lambda token, i: pages[page_ids[first + token // PAGE], 1, head, token % PAGE, i]


def _gather_keys(head_dim: int) -> Any:
    """The macro that fills `keys` [blocks, head_dim, WIDTH] with the keys of `count` pages.

    An odd last half is zeroed: what happens to lie in memory there may be denormal, and slow to multiply.
    """

    @T.macro
    def gather(pages, page_ids, first, count, head, keys):
        for page in T.serial(count):
            for i in T.serial(head_dim):
                for c in T.vectorized(PAGE):
                    keys[page // 2, i, page % 2 * PAGE + c] = pages[page_ids[first + page], 0, head, c, i]
        if count % 2 == 1:
            for i in T.serial(head_dim):
                for c in T.vectorized(PAGE):
                    keys[count // 2, i, PAGE + c] = T.float32(0)

    return gather
