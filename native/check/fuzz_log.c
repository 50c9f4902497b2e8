/* Whatever an Envoy logs, and whatever a journal's file holds, becomes rows that add up, or is counted as what it is.
 *
 * Input: one byte of options, then a StreamAccessLogsMessage; with JOURNAL records as they stand in a half, with FILE the
 * whole memory of a journal. A message is taken twice: all that depends on units may differ, nothing else. */
#include "fuzz.h"
#include "sc_journal.h"
#include "sc_rows.h"

enum { JOURNAL = 1, FILE_ = 2, SMALL = 4 }; /* SMALL: a journal that is soon full */
enum { ROOM = 1 << 16, LITTLE_ROOM = 1 << 10, UNITS = 4, TURNS = 4 };
static const uint64_t now_us = UINT64_C(1800000000) * 1000000; /* NOW_US of tests/entries.py */

static uint64_t memory[ROOM / sizeof(uint64_t)], lasting[ROOM / sizeof(uint64_t)];
static sc_rows *rows; /* over `lasting`: to make one takes longer than to take a message */

static const sc_str names[] = {SC_LITERAL("chat"), SC_LITERAL("shop")};
static const sc_str variants[] = {SC_LITERAL("stable"), SC_LITERAL("canary")};
static const sc_str versions[] = {SC_LITERAL("v1"), SC_LITERAL("v2")};

typedef struct {
  uint64_t rows, completed, errors, bytes, duration_us;
} totals;

static sc_rows *rows_over(uint64_t *at, size_t room)
{
  sc_rows *made;
  CHECK(sc_rows_new(&made, (uint8_t *)at, room, UNITS) == 0);
  for (size_t i = 0; i < 2; i++) {
    CHECK(sc_rows_know_version(made, versions[i]) == 0);
    for (size_t j = 0; j < 2; j++) CHECK(sc_rows_know_variant(made, names[i], variants[j]) == 0);
  }
  return made;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc, (void)argv;
  rows = rows_over(lasting, ROOM);
  return 0;
}

static bool is_one_of(sc_str text, const sc_str of[2]) { return sc_str_eq(text, of[0]) || sc_str_eq(text, of[1]); }

static uint64_t sum(const uint32_t *counts, size_t n)
{
  uint64_t all = 0;
  for (size_t i = 0; i < n; i++) all += counts[i];
  return all;
}

static void check_row(const sc_row *row, bool ours)
{
  uint64_t completed = row->sums[SC_CELL_COMPLETED];
  const uint32_t *counts = row->counts;
  CHECK(completed > 0 && sum(counts + SC_CELL_HTTP_CLASS, 6) == completed);
  CHECK(sum(counts + SC_CELL_GRPC_STATUS, 18) <= completed && sum(counts + SC_CELL_DURATION, SC_BUCKETS) <= completed);
  CHECK(counts[SC_CELL_ERRORS] <= completed && counts[SC_CELL_AT_RISK] <= completed);
  if (!ours) return; /* what follows holds only for what was written here */
  CHECK(counts[SC_CELL_UNITS] <= counts[SC_CELL_AT_RISK] && counts[SC_CELL_UNIT_ERRORS] <= counts[SC_CELL_ERRORS]);
  CHECK(sum(counts + SC_CELL_UNIT_DURATION, SC_BUCKETS) <= counts[SC_CELL_UNITS]);
  CHECK(is_one_of(row->rollout, names) && is_one_of(row->variant, variants) && is_one_of(row->version, versions));
  CHECK(row->second <= now_us / 1000000 + 5 && row->second >= now_us / 1000000 - 86400);
}

/* Everything that is there; false where some of it could not be read. */
static bool drain(sc_rows *from, bool ours, totals *all)
{
  bool whole = true;
  uint64_t number;
  for (size_t turn = 0; turn < TURNS && (number = sc_rows_turn(from)) > 0; turn++) {
    const sc_row *found;
    size_t at = 0;
    int count;
    while ((count = sc_rows_fold(from, number, &at, &found)) > 0) {
      for (int i = 0; i < count; i++) {
        check_row(&found[i], ours);
        all->rows++;
        all->completed += found[i].sums[SC_CELL_COMPLETED];
        all->errors += found[i].counts[SC_CELL_ERRORS];
        all->bytes += found[i].sums[SC_CELL_BYTES_SENT] + found[i].sums[SC_CELL_BYTES_RECEIVED];
        all->duration_us += found[i].sums[SC_CELL_DURATION_US];
      }
    }
    whole = whole && count == 0;
    sc_rows_release(from, number);
  }
  return whole;
}

static uint64_t counted(sc_rows *of)
{
  uint64_t all = 0;
  for (int i = 0; i < SC_UNITS_FORGOTTEN; i++) all += sc_rows_counted(of, (sc_rows_count)i);
  return all;
}

static void take(sc_str message, totals *out)
{
  uint64_t before = counted(rows), taken = sc_rows_counted(rows, SC_TAKEN);
  sc_rows_take(rows, message, now_us);
  CHECK(drain(rows, true, out));
  CHECK(out->completed >= sc_rows_counted(rows, SC_TAKEN) - taken);
  CHECK(out->completed == 0 || counted(rows) > before);
}

static void take_twice(sc_str message)
{
  totals once = {0}, again = {0};
  take(message, &once);
  take(message, &again);
  CHECK(memcmp(&once, &again, sizeof once) == 0);
}

/* Rows of their own, which overrun soon: what is taken and what is folded are the same. */
static void take_much(sc_str message)
{
  memset(memory, 0, LITTLE_ROOM);
  sc_rows *own = rows_over(memory, LITTLE_ROOM);
  totals all = {0};
  for (size_t i = 0; i < 8; i++) {
    sc_rows_take(own, message, now_us);
    if (i % 3 == 2) CHECK(drain(own, true, &all));
  }
  CHECK(drain(own, true, &all) && all.completed >= sc_rows_counted(own, SC_TAKEN));
  sc_rows_del(own);
}

static void read_memory(sc_str bytes, bool records)
{
  sc_journal journal;
  totals all = {0};
  memset(memory, 0, ROOM);
  if (records) {
    CHECK(sc_journal_open(&journal, (uint8_t *)memory, ROOM) == 0);
    uint8_t *at = sc_journal_room(&journal, bytes.len);
    if (!at) return;
    memcpy(at, bytes.data, bytes.len);
    sc_journal_commit(&journal, bytes.len);
  } else {
    memcpy(memory, bytes.data, bytes.len < ROOM ? bytes.len : ROOM);
  }
  sc_rows *own;
  int rv = sc_rows_new(&own, (uint8_t *)memory, ROOM, UNITS);
  CHECK(rv == 0 || (rv == SC_ERR_MALFORMED && !records));
  if (rv < 0) return;
  drain(own, false, &all);
  sc_rows_del(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < 1) return 0;
  sc_str bytes = {data + 1, size - 1};
  if (data[0] & (JOURNAL | FILE_))
    read_memory(bytes, data[0] & JOURNAL);
  else if (data[0] & SMALL)
    take_much(bytes);
  else
    take_twice(bytes);
  return 0;
}
