"""CPU attention kernels in TIR over the pages of TVM's KV cache: for several new tokens, and for one.

See attention.py for the computation and the layout of a page. One new token is split over the context too
(flash decoding), into up to SEGMENTS runs of pages a key head, so that every thread has the same share.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.attention import MASKED, PAGE, Shape, attend_macro, power_of_two, tile_macro, window_of

SEGMENTS = 16


def paged_prefill(shape: Shape) -> Any:
    """PrimFunc: attention of new tokens q [n, heads, d] over all cached tokens of their sequence.

    pages [p, 2, kv, PAGE, d] hold keys (0, each page's part transposed) and values (1). `causal` has no meaning
    here: the cache holds earlier tokens only.
    """
    heads, kv_heads, head_dim, group, rows = shape.heads, shape.kv_heads, shape.head_dim, shape.group, shape.rows
    tile = tile_macro(shape)

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
        offsets = [T.int32() for _ in range(6)]
        q = T.match_buffer(q_handle, (n, heads, head_dim), shape.dtype)
        q_indptr = T.match_buffer(q_indptr_handle, (batch + 1,), "int32", elem_offset=offsets[0])
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), shape.dtype)
        page_indptr = T.match_buffer(page_indptr_handle, (batch + 1,), "int32", elem_offset=offsets[1])
        page_ids = T.match_buffer(page_ids_handle, (used,), "int32", elem_offset=offsets[2])
        last_page = T.match_buffer(length_info_handle, (batch,), "int32", elem_offset=offsets[3])
        key_start = T.match_buffer(k_offset_handle, (batch,), "int32", elem_offset=offsets[4])
        position = T.match_buffer(q_position_handle, (n,), "int32", elem_offset=offsets[5])
        output = T.match_buffer(output_handle, (n, heads, head_dim), shape.dtype)
        lse = T.match_buffer(lse_handle, (n, heads), "float32")
        keys = T.decl_buffer((pool, 2, kv_heads, head_dim, PAGE), shape.dtype, data=pages.data)
        for b in T.serial(batch):
            with T.sblock("sequence"):
                T.reads()
                T.writes()
                count = T.meta_var(q_indptr[b + 1] - q_indptr[b])
                tiles = T.meta_var((count * group + rows - 1) // rows)
                for task in T.parallel(kv_heads * tiles):
                    tile(
                        q,
                        q_indptr[b],
                        count,
                        task // tiles,
                        task % tiles,
                        cached_tokens(page_indptr, last_page, b),
                        0,
                        position[q_indptr[b]] - key_start[b],
                        window_of(sm_scale),
                        _place(page_ids, page_indptr[b]),
                        _key(keys, task // tiles),
                        _value(pages, task // tiles),
                        output,
                        lse,
                    )

    return attention_paged


def paged_decode(shape: Shape) -> Any:
    """PrimFunc: like `paged_prefill` with one new token a sequence, q [batch, heads, d], itself cached."""
    heads, kv_heads, head_dim, group, rows = shape.heads, shape.kv_heads, shape.head_dim, shape.group, shape.decode_rows
    attend = attend_macro(shape, rows, fetch=True)

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
        offsets = [T.int32() for _ in range(5)]
        q = T.match_buffer(q_handle, (batch, heads, head_dim), shape.dtype)
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), shape.dtype)
        page_indptr = T.match_buffer(page_indptr_handle, (batch + 1,), "int32", elem_offset=offsets[0])
        page_ids = T.match_buffer(page_ids_handle, (used,), "int32", elem_offset=offsets[1])
        last_page = T.match_buffer(length_info_handle, (batch,), "int32", elem_offset=offsets[2])
        key_start = T.match_buffer(k_offset_handle, (batch,), "int32", elem_offset=offsets[3])
        position = T.match_buffer(q_position_handle, (batch,), "int32", elem_offset=offsets[4])
        output = T.match_buffer(output_handle, (batch, heads, head_dim), shape.dtype)
        lse = T.match_buffer(lse_handle, (batch, heads), "float32")
        keys = T.decl_buffer((pool, 2, kv_heads, head_dim, PAGE), shape.dtype, data=pages.data)
        for b in T.serial(batch):
            with T.sblock("sequence"):
                T.reads()
                T.writes()
                tops = T.sblock_alloc_buffer((SEGMENTS, heads), "float32")
                weights = T.sblock_alloc_buffer((SEGMENTS, heads), "float32")
                parts = T.sblock_alloc_buffer((SEGMENTS, heads, head_dim), "float32")
                bound = T.sblock_alloc_buffer((5,), "int32")  # an expression would be computed wherever it is used
                length = T.meta_var(bound[0])
                start = T.meta_var(bound[1])
                begin = T.meta_var(bound[2])
                span = T.meta_var(bound[3])
                segments = T.meta_var(bound[4])
                bound[0] = cached_tokens(page_indptr, last_page, b)
                bound[1] = T.max(position[b] - key_start[b] - window_of(sm_scale) + 1, 0)
                bound[2] = start // PAGE
                bound[3] = T.max((length + PAGE - 1) // PAGE - begin, 0)
                bound[4] = T.min(SEGMENTS, T.max(span // 4, 1))
                for task in T.parallel(segments * kv_heads):
                    for tile in T.serial((group + rows - 1) // rows):
                        with T.sblock("segment"):
                            T.reads()
                            T.writes()
                            head = T.meta_var(task // segments)
                            segment = T.meta_var(task % segments)
                            queries = T.sblock_alloc_buffer((rows, head_dim), "float32")
                            low = T.sblock_alloc_buffer((rows,), "int32")
                            high = T.sblock_alloc_buffer((rows,), "int32")
                            top = T.sblock_alloc_buffer((rows,), "float32")
                            weight = T.sblock_alloc_buffer((rows, PAGE), "float32")
                            mixed = T.sblock_alloc_buffer((rows, head_dim), "float32")
                            for r in T.unroll(rows):
                                low[r] = start
                                high[r] = T.min(length, (begin + (segment + 1) * span // segments) * PAGE)
                                for i in T.vectorized(head_dim):
                                    queries[r, i] = T.Cast(
                                        "float32", q[b, head * group + T.min(tile * rows + r, group - 1), i]
                                    )
                            attend(
                                queries,
                                low,
                                high,
                                begin + segment * span // segments,
                                begin + (segment + 1) * span // segments,
                                length,
                                _place(page_ids, page_indptr[b]),
                                _key(keys, head),
                                _value(pages, head),
                                top,
                                weight,
                                mixed,
                            )
                            for r in T.unroll(rows):
                                if tile * rows + r < group:
                                    tops[segment, head * group + tile * rows + r] = top[r]
                                    for c in T.unroll(PAGE - 1):
                                        weight[r, 0] = weight[r, 0] + weight[r, c + 1]
                                    weights[segment, head * group + tile * rows + r] = weight[r, 0]
                                    for i in T.vectorized(head_dim):
                                        parts[segment, head * group + tile * rows + r, i] = mixed[r, i]
                for head in T.serial(heads):
                    with T.sblock("merge"):
                        highest = T.sblock_alloc_buffer((1,), "float32")
                        share = T.sblock_alloc_buffer((1,), "float32")
                        whole = T.sblock_alloc_buffer((1,), "float32")
                        sums = T.sblock_alloc_buffer((head_dim,), "float32")
                        highest[0] = T.float32(MASKED)
                        for segment in T.serial(segments):
                            highest[0] = T.max(highest[0], tops[segment, head])
                        whole[0] = T.float32(0)
                        for i in T.vectorized(head_dim):
                            sums[i] = T.float32(0)
                        for segment in T.serial(segments):
                            share[0] = power_of_two(tops[segment, head] - highest[0])
                            whole[0] = whole[0] + share[0] * weights[segment, head]
                            for i in T.vectorized(head_dim):
                                sums[i] = sums[i] + parts[segment, head, i] * share[0]
                        whole[0] = T.max(whole[0], T.float32(1e-30))
                        for i in T.vectorized(head_dim):
                            output[b, head, i] = T.Cast(shape.dtype, sums[i] / whole[0])
                        lse[b, head] = highest[0] + T.log2(whole[0])

    return attention_decode


def cached_tokens(page_indptr: Any, last_page: Any, b: Any) -> Any:
    """Tokens of sequence `b` in its pages, of which the last holds last_page[b]."""
    pages = page_indptr[b + 1] - page_indptr[b]
    return T.Select(pages > 0, (pages - 1) * PAGE + last_page[b], 0)


def _place(page_ids: Any, first: Any) -> Any:
    return lambda page: page_ids[first + page]


def _key(keys: Any, head: Any) -> Any:
    return lambda place, i, token: keys[place, 0, head, i, token]


def _value(pages: Any, head: Any) -> Any:
    return lambda place, token, i: pages[place, 1, head, token, i]
