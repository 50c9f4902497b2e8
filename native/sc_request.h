/* envoy.service.ext_proc.v3.ProcessingRequest, read without copying.
 *
 * Follows the protobuf encoding rules (unknown fields of any wire type are skipped, the last of a
 * oneof wins, repeated sub-messages merge); only what decides is kept. */
#ifndef SC_REQUEST_H
#define SC_REQUEST_H

#include "sc_base.h"

/* The field numbers of the oneof; an answer's field number is one less. */
typedef enum {
  SC_MESSAGE_NONE = 0,
  SC_MESSAGE_REQUEST_HEADERS = 2,
  SC_MESSAGE_RESPONSE_HEADERS = 3,
  SC_MESSAGE_REQUEST_BODY = 4,
  SC_MESSAGE_RESPONSE_BODY = 5,
  SC_MESSAGE_REQUEST_TRAILERS = 6,
  SC_MESSAGE_RESPONSE_TRAILERS = 7,
} sc_message_kind;

typedef struct {
  sc_str key, value;
} sc_header;

/* Start from zeros and reuse: the list of headers grows and stays. Views point into the message. */
typedef struct {
  sc_message_kind kind;
  bool observability_mode;
  sc_header *headers;
  size_t n_headers, cap;
  sc_str authority, path;
  sc_str source_address; /* the attribute source.address, "" where Envoy did not send it */
  sc_str attributes;     /* the Struct of all attributes; read when a rule asks */
  sc_str metadata;       /* envoy.config.core.v3.Metadata; read when a rule asks */
} sc_request;

/* SC_ERR_MALFORMED if `message` is not a protobuf message of this shape. */
int sc_request_parse(sc_request *request, sc_str message);
void sc_request_free(sc_request *request);

#endif
