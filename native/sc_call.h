/* A gRPC call as a service sees it, and the service as the transport sees it.
 *
 * Everything about one call happens on the one thread that owns its connection. The wire is
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
 */
#ifndef SC_CALL_H
#define SC_CALL_H

#include "sc_base.h"

/* https://grpc.io/docs/guides/status-codes: those that are used. */
enum {
  SC_GRPC_OK = 0,
  SC_GRPC_INVALID_ARGUMENT = 3,
  SC_GRPC_NOT_FOUND = 5,
  SC_GRPC_RESOURCE_EXHAUSTED = 8,
  SC_GRPC_UNIMPLEMENTED = 12,
  SC_GRPC_INTERNAL = 13,
  SC_GRPC_UNAVAILABLE = 14,
};

/* How a call stands: NULL `text` goes on, anything else ends it with `code` and that text (static, printable
 * ASCII without '%'; "" for none). */
typedef struct {
  int code;
  const char *text;
} sc_status;

#define SC_GOES_ON ((sc_status){SC_GRPC_OK, NULL})
#define SC_DONE ((sc_status){SC_GRPC_OK, ""})

typedef struct sc_call sc_call;

typedef struct {
  sc_str path; /* "/package.Service/Method" */
  bool endless;   /* the call is not waited for when the server drains */
  bool lingers;   /* it goes on after the peer's last message, until the service ends it */
  /* One whole message of the call. May reply any number of times. */
  sc_status (*message)(void *context, sc_call *call, sc_str message);
  /* The call is gone, however it ended. May be NULL. */
  void (*closed)(void *context, sc_call *call);
  void *context;
} sc_method;

/* Sends one message. The bytes are copied. SC_ERR_NOMEM: not sent. */
int sc_call_reply(sc_call *call, sc_str message);

/* Ends the call from outside its own message(). */
void sc_call_end(sc_call *call, sc_status status);

/* When the bytes that began the call were read (CLOCK_MONOTONIC, ns). */
uint64_t sc_call_began_ns(const sc_call *call);

/* The call's own metadata; empty where it was not sent, or where nobody asked to keep it. */
sc_str sc_call_traceparent(const sc_call *call);
sc_str sc_call_tracestate(const sc_call *call);

/* Free for the service: NULL when the call begins. */
void **sc_call_data(sc_call *call);

#endif
