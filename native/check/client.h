/* A gRPC client without I/O, as hostile or as well-behaved as its user asks: nghttp2 and nothing of ours but sc_buf. */
#ifndef CLIENT_H
#define CLIENT_H

#include <nghttp2/nghttp2.h>

#include "check.h"
#include "sc_buf.h"

#define PROCESS "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
#define LOG "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
#define WATCH "/grpc.health.v1.Health/Watch"
#define HEALTH_CHECK "/grpc.health.v1.Health/Check"

typedef enum {
  CALL_ENDS,          /* END_STREAM after the message, then the trailers are awaited */
  CALL_RESETS,        /* RST_STREAM as soon as the answer is there, as Envoy does */
  CALL_RESETS_AT_ONCE, /* RST_STREAM right behind the message */
  CALL_STAYS,         /* nothing after the message */
} call_manner;

typedef struct client client;
typedef struct client_call client_call;

struct client_call {
  client *client;
  client_call *previous, *next; /* among those that are open */
  sc_str message;               /* what is still to be sent of the prefix and it */
  uint8_t *bytes;
  sc_buf in;
  int32_t id;
  int grpc_status; /* -1: none came */
  const sc_str *expected;
  call_manner manner;
  bool one_way; /* no answer is awaited */
};

struct client {
  nghttp2_session *session;
  client_call *calls;
  size_t n_waiting; /* open calls that do not stay */
  uint64_t opened, answered, ended_well, ended_badly, broken; /* broken: closed without what it waited for */
  uint32_t last_error;     /* of a GOAWAY */
  int32_t goaway_last;     /* -1: no final GOAWAY */
  bool greeted, going;     /* its SETTINGS came; a GOAWAY came: no new calls */
  const char *traceparent; /* what every call says */
  const sc_str *expected;  /* NULL, or two answers one of which a decision must be */
};

client *client_new(uint32_t window);
void client_del(client *c);

/* Opens a call and sends one message (NULL data: none). */
client_call *client_open(client *c, const char *path, sc_str message, call_manner manner);

/* What the peer said; false if it was no HTTP/2. */
bool client_input(client *c, sc_str bytes);

/* Moves what is to be said to the end of `out`. */
void client_output(client *c, sc_buf *out);

#endif
