/* Outcomes become rows: (start second, rollout, variant, table version, segment) and counts. The version is
 * that of the table since which the rollout has had these odds (sc_odds.h).
 *
 * Any thread takes messages; what it reads is committed to the journal record by record, under a lock
 * that is held for one record. One thread turns the journal and folds the half it got, with no lock
 * at all: threads that take never wait for it. sidecar/outcomes/twin_accesslog.py is the specification. */
#ifndef SC_ROWS_H
#define SC_ROWS_H

#include "sc_logs.h"

/* Durations: one bucket below 64 us, then sixteen to every doubling up to 2^30 us (18 minutes), then one
 * above. sidecar/analysis/edges.py says the same, and numbers the version. */
enum { SC_LOWEST_BIT = 6, SC_HIGHEST_BIT = 30, SC_SUB_BITS = 4,
       SC_BUCKETS = (SC_HIGHEST_BIT - SC_LOWEST_BIT) * (1 << SC_SUB_BITS) + 2 };

/* What a row counts; cells.py names the same. The rest is 0. */
enum {
  SC_CELL_COMPLETED = 0,
  SC_CELL_BYTES_SENT = 1,
  SC_CELL_BYTES_RECEIVED = 2,
  SC_CELL_DURATION_US = 3,   /* the sum */
  SC_CELL_ERRORS = 4,
  SC_CELL_UNITS = 5,         /* units seen for the first time at these odds */
  SC_CELL_UNIT_ERRORS = 6,   /* first errors of units */
  SC_CELL_AT_RISK = 7,       /* requests of units that had no error before */
  /* 8, the requests started, is counted by the router, not here */
  SC_CELL_HTTP_CLASS = 16,   /* + 0 (no answer, or none of these) to 5 */
  SC_CELL_GRPC_STATUS = 32,  /* + 0 to 16; + 17: anything else */
  SC_CELL_FLAG = 64,         /* + the field number in ResponseFlags, 1 to 31 */
  SC_CELL_DURATION = 128,    /* + the bucket */
  SC_CELL_UNIT_DURATION = 640, /* + the bucket: of a unit's first request */
  SC_CELLS = SC_CELL_UNIT_DURATION + SC_BUCKETS,
};

/* What became of entries. Each is in one of these; a message that cannot be read is in its own. */
typedef enum {
  SC_TAKEN,
  SC_MALFORMED_MESSAGES,
  SC_MALFORMED,       /* not an entry, or one that says impossible things */
  SC_INTERMEDIATE,    /* will be logged again when its request ends */
  SC_UNDECIDED,       /* carries no decision of ours */
  SC_TOO_OLD,         /* began more than a day ago */
  SC_FUTURE,          /* begins more than five seconds from now */
  SC_UNKNOWN_VERSION, /* of these, decisions are counted: an entry may have several */
  SC_UNKNOWN_ROLLOUT,
  SC_UNKNOWN_VARIANT,
  SC_CROWDED,         /* decisions of a request beyond the 32 that are read */
  SC_OVERRUN,         /* the journal was full: nobody folded it in time */
  SC_UNITS_FORGOTTEN, /* units that will count as new should they come again */
  SC_ROWS_COUNTS,
} sc_rows_count;

typedef struct sc_rows sc_rows;

typedef struct {
  uint32_t second; /* Unix time in which the requests started */
  sc_str rollout, variant, version, segment; /* views into the journal */
  uint64_t sums[SC_CELL_ERRORS]; /* the cells before it */
  uint32_t counts[SC_CELLS];     /* the others, each at its own number */
} sc_row;

/* `memory` is the journal's and outlives the rows. `units` are remembered twice over (sc_recent.h).
 * SC_ERR_NOMEM, SC_ERR_MALFORMED if the memory holds no journal. */
int sc_rows_new(sc_rows **out, uint8_t *memory, size_t len, size_t units);
void sc_rows_del(sc_rows *rows);

/* What may be named from now on. Any thread. SC_ERR_NOMEM. A version that is only known is one of an earlier
 * life. One that begins (of 1 to 255 bytes, else SC_ERR_MALFORMED) is in force; which rollouts have other odds
 * by it is told right after, and nobody needs to be told of its first. */
int sc_rows_know_version(sc_rows *rows, sc_str version);
int sc_rows_begin_version(sc_rows *rows, sc_str version);
int sc_rows_change_odds(sc_rows *rows, sc_str rollout, sc_str version);
int sc_rows_know_variant(sc_rows *rows, sc_str rollout, sc_str variant);

/* Takes a serialised StreamAccessLogsMessage, whatever it is, at this Unix time. Any thread. */
void sc_rows_take(sc_rows *rows, sc_str message, uint64_t now_us);

/* The logs that are open; they count no entry. */
sc_logs *sc_rows_logs(sc_rows *rows);

uint64_t sc_rows_counted(sc_rows *rows, sc_rows_count count);

/* One thread only: turn, fold until it gives nothing more, keep what it gave, release. */
uint64_t sc_rows_turn(sc_rows *rows);

/* Folds records of the half `number` from `*at` on (0 at first) into at most some hundred rows, valid
 * until the next call. The same row may come again: its counts add up. Returns how many rows, 0 at the
 * end, or SC_ERR_MALFORMED if the rest of the half cannot be read (a file that was damaged). */
int sc_rows_fold(sc_rows *rows, uint64_t number, size_t *at, const sc_row **out);
void sc_rows_release(sc_rows *rows, uint64_t number);

/* The bucket of a duration. */
unsigned sc_bucket(uint64_t duration_us);

#endif
