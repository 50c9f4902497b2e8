/* The memory of one nghttp2 session, known block by block.
 *
 * Theory. When an allocation fails within nghttp2 1.52, an item may be freed that a stream still points to
 * (nghttp2_submit_data after nghttp2_stream_attach_item failed), and nghttp2_session_del() would free it again: seen by
 * native/check/failing.c. So a session that failed is not asked to clean up; its blocks are freed from here. Two pointers
 * a block, and no search. */
#ifndef SC_MEM_H
#define SC_MEM_H

#include <nghttp2/nghttp2.h>

typedef struct sc_block {
  _Alignas(16) struct sc_block *previous;
  struct sc_block *next;
} sc_block;

/* An allocator whose blocks hang on `*all`, which starts as NULL and must outlive it. */
nghttp2_mem sc_mem(sc_block **all);

void sc_mem_free_all(sc_block **all);

#endif
