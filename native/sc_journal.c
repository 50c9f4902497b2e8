#include "sc_journal.h"

#include <stdatomic.h>

static const uint64_t magic = 0x31304e4a5f594e43; /* "CNY_JN01" */

typedef struct {
  uint64_t number;
  _Atomic uint64_t used;
} half;

struct sc_journal_head {
  uint64_t magic, half_len;
  half halves[2];
  uint64_t spare[2];
};

static unsigned writing(const sc_journal *j)
{
  return j->head->halves[1].number > j->head->halves[0].number;
}

static uint64_t used(const sc_journal *j, unsigned which)
{
  return atomic_load_explicit(&j->head->halves[which].used, memory_order_acquire);
}

int sc_journal_open(sc_journal *j, uint8_t *memory, size_t len)
{
  sc_journal_head *head = (sc_journal_head *)(void *)memory;
  if (len < sizeof *head + 16) return SC_ERR_MALFORMED;
  size_t half_len = (len - sizeof *head) / 16 * 8;
  *j = (sc_journal){head, {memory + sizeof *head, memory + sizeof *head + half_len}, half_len};
  if (head->magic == 0) {
    head->half_len = half_len;
    head->halves[0].number = 1;
    head->magic = magic;
  }
  bool ours = head->magic == magic && head->half_len == half_len;
  return ours && used(j, 0) <= half_len && used(j, 1) <= half_len ? 0 : SC_ERR_MALFORMED;
}

uint8_t *sc_journal_room(sc_journal *j, size_t len)
{
  unsigned at = writing(j);
  uint64_t start = used(j, at);
  return len <= j->half_len - start ? j->halves[at] + start : NULL;
}

void sc_journal_commit(sc_journal *j, size_t len)
{
  atomic_fetch_add_explicit(&j->head->halves[writing(j)].used, len, memory_order_release);
}

uint64_t sc_journal_turn(sc_journal *j)
{
  unsigned at = writing(j);
  half *closing = &j->head->halves[at], *other = &j->head->halves[!at];
  if (used(j, !at) > 0) return other->number;
  if (used(j, at) == 0) return 0;
  other->number = closing->number + 1;
  return closing->number;
}

sc_str sc_journal_records(const sc_journal *j, uint64_t number)
{
  unsigned at = j->head->halves[1].number == number;
  return (sc_str){j->halves[at], (size_t)used(j, at)};
}

void sc_journal_release(sc_journal *j, uint64_t number)
{
  unsigned at = j->head->halves[1].number == number;
  if (j->head->halves[at].number == number)
    atomic_store_explicit(&j->head->halves[at].used, 0, memory_order_release);
}
