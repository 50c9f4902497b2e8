#define _POSIX_C_SOURCE 200809L
#include "sc_extproc.h"

#include <sys/eventfd.h>
#include <time.h>

#define US(x) UINT64_C(x) * 1000
const uint64_t sc_duration_bounds_ns[SC_DURATION_BOUNDS] = {
    US(1),    US(2),    US(5),     US(10),    US(20),    US(50),     US(100),    US(200),    US(500),    US(1000),
    US(2000), US(5000), US(10000), US(20000), US(50000), US(100000), US(200000), US(500000), US(1000000)};

static uint64_t now_ns(clockid_t clock)
{
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* By the kernel's last tick: a force token may hold some milliseconds longer. */
static int64_t now_s(void)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME_COARSE, &t);
  return (int64_t)t.tv_sec;
}

static void count_duration(sc_extproc_counts *counts, uint64_t took_ns)
{
  size_t at = 0;
  while (at < SC_DURATION_BOUNDS && took_ns > sc_duration_bounds_ns[at]) at++;
  sc_count(&counts->durations[at], 1);
  sc_count(&counts->duration_sum_ns, took_ns);
}

/* ---- samples -------------------------------------------------------------------------------- */

static void write_sample(sc_sample *sample, const sc_edition *edition, const sc_decision *d)
{
  sample->edition = edition->number;
  sample->rollout = (uint32_t)(d->rollout - sc_table_rollout(edition->table, 0));
  sample->slot = d->slot;
  sample->reason = (uint32_t)d->reason;
  sample->second = d->second;
}

/* Printable ASCII, as https://www.w3.org/TR/trace-context-1/#value has it: an OTLP string that is not UTF-8 would have a
 * collector refuse the whole batch. */
static bool is_tracestate(sc_str text)
{
  for (size_t i = 0; i < text.len; i++)
    if (text.data[i] < 0x20 || text.data[i] > 0x7e) return false;
  return text.len <= SC_MAX_TRACESTATE;
}

static void sample(sc_extproc *x, sc_call *call, const sc_edition *edition, const sc_scratch *scratch, uint64_t took_ns)
{
  sc_span_context span;
  if (scratch->request.kind != SC_MESSAGE_REQUEST_HEADERS) return;
  if (!sc_sampling_decide(&x->sampling, sc_call_traceparent(call), &x->random, &span)) return;
  sc_str state = sc_call_tracestate(call);
  if (span.parent == 0 || !is_tracestate(state)) state.len = 0;
  uint64_t end_ns = now_ns(CLOCK_REALTIME);
  for (size_t i = 0; i < scratch->n_decisions; i++) {
    sc_sample *slot = sc_ring_claim(x->ring);
    if (!slot) continue;
    write_sample(slot, edition, &scratch->decisions[i]);
    slot->end_ns = end_ns;
    slot->took_ns = took_ns;
    slot->trace_high = span.trace_high;
    slot->trace_low = span.trace_low;
    slot->parent = span.parent;
    slot->span = sc_sampling_draw(&x->random);
    slot->tracestate_len = (uint8_t)state.len;
    if (state.len > 0) memcpy(slot->tracestate, state.data, state.len);
    if (sc_ring_commit(x->ring) && x->alarm > 0) (void)eventfd_write(x->alarm, 1); /* full means that it is heard anyway */
  }
}

/* ---- the call ------------------------------------------------------------------------------- */

/* Only the first message of a call can be the one that decides. */
static void observe(sc_extproc *x, sc_call *call, const sc_edition *edition, const sc_scratch *scratch)
{
  static char observed;
  if (*sc_call_data(call)) return;
  *sc_call_data(call) = &observed;
  uint64_t took_ns = now_ns(CLOCK_MONOTONIC) - sc_call_began_ns(call);
  count_duration(&x->counts, took_ns);
  if (x->sampling.on) sample(x, call, edition, scratch, took_ns);
}

static sc_status answer(sc_extproc *x, sc_call *call, sc_edition *edition, sc_str message)
{
  sc_scratch *scratch = edition->scratches[x->reader];
  sc_str out;
  int rv = sc_answer(edition->table, message, now_s(), scratch, &out);
  if (rv == SC_ERR_MALFORMED) {
    sc_count(&x->counts.malformed, 1);
    return (sc_status){SC_GRPC_INVALID_ARGUMENT, "not a ProcessingRequest"};
  }
  if (rv == 0 && out.len == 0) return SC_GOES_ON;
  if (rv < 0 || sc_call_reply(call, out) < 0) return (sc_status){SC_GRPC_RESOURCE_EXHAUSTED, "out of memory"};
  sc_count(&x->counts.answers, 1);
  if (scratch->force.refusal != SC_TOKEN_FINE) sc_count(&x->counts.force_refused[scratch->force.refusal], 1);
  observe(x, call, edition, scratch);
  return SC_GOES_ON;
}

static sc_status process(void *context, sc_call *call, sc_str message)
{
  sc_extproc *x = context;
  sc_edition *edition = sc_shelf_open(x->shelf, x->reader);
  if (!edition) {
    sc_count(&x->counts.not_ready, 1);
    return (sc_status){SC_GRPC_UNAVAILABLE, "no routing table yet"};
  }
  sc_status status = answer(x, call, edition, message);
  sc_shelf_close(x->shelf, x->reader);
  return status;
}

sc_method sc_extproc_method(sc_extproc *context)
{
  return (sc_method){.path = SC_LITERAL("/envoy.service.ext_proc.v3.ExternalProcessor/Process"),
                     .message = process,
                     .context = context};
}
