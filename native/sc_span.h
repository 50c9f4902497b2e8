/* A sampled decision as OpenTelemetry's Span, in protobuf, as one of the `spans` of a ScopeSpans.
 *
 * Nearly all that a span says is the same for every decision of one variant: that part comes ready-made, the rest is
 * written behind it. sidecar/telemetry/spans.py makes that part, and is the specification of the whole. */
#ifndef SC_SPAN_H
#define SC_SPAN_H

#include "sc_ring.h"

typedef struct {
  sc_str common; /* fields of Span that do not depend on the call */
  sc_str unit;   /* the attribute that names the unit, but for its 16 digits; empty where there is no unit */
} sc_span_template;

/* How many bytes sc_span_write() writes for this sample. */
size_t sc_span_size(const sc_sample *sample, const sc_span_template *known);
void sc_span_write(const sc_sample *sample, const sc_span_template *known, uint8_t *out);

#endif
