/* envoy.service.accesslog.v3.StreamAccessLogsMessage, read without copying: what each request came to,
 * and under which decisions. sidecar/outcomes/twin_accesslog.py is its specification.
 *
 * Field numbers: envoy/data/accesslog/v3/accesslog.proto, envoy/service/accesslog/v3/als.proto. */
#ifndef SC_ACCESSLOG_H
#define SC_ACCESSLOG_H

#include "sc_base.h"

enum {
  SC_MOST_DECISIONS = 32, /* of one request; further ones are only counted */
  SC_GRPC_OTHER = 17,     /* a grpc-status that is not 0 to 16 */
  SC_GRPC_NONE = 255,     /* no grpc-status: not a gRPC call */
};
#define SC_NO_DURATION UINT64_MAX

/* One of {canary: {<rollout>: {variant, version, reason, unit}}}. Views into the message. */
typedef struct {
  sc_str rollout, variant, version, reason;
  uint64_t unit; /* the pseudonym; meaningless without has_unit */
  bool has_unit;
} sc_logged_decision;

typedef struct {
  uint64_t start_us;    /* Unix time */
  uint64_t duration_us; /* to the last byte sent downstream, else to the end of the stream */
  uint64_t bytes_sent, bytes_received; /* bodies, as the client saw them */
  uint32_t flags;       /* ResponseFlags: field number n is bit n */
  uint16_t code;        /* 0 where there was no answer */
  uint8_t grpc_status;  /* of the trailers, else of the headers */
  bool has_start;
  bool intermediate; /* not the end of a request: it will be logged again */
  uint8_t n_decisions;
  uint32_t unread_decisions; /* beyond SC_MOST_DECISIONS */
  sc_logged_decision decisions[SC_MOST_DECISIONS];
} sc_entry;

/* SC_ERR_MALFORMED if `bytes` is not an HTTPAccessLogEntry, or one that says impossible things (a time
 * before 1970, a code above 65535, a decision without a variant). */
int sc_entry_parse(sc_entry *entry, sc_str bytes);

/* Called per entry, with the entry's bytes. An error of it stops the reading. */
typedef int sc_entry_reader(void *into, sc_str entry);

/* Finds the HTTP entries of a message; everything else in it is skipped. SC_ERR_MALFORMED where the
 * message itself cannot be read further: the entries before that place were read. */
int sc_accesslog_read(sc_str message, sc_entry_reader *each, void *into);

#endif
