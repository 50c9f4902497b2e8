#include "sc_health.h"

#include <stdlib.h>

#include "sc_wire.h"

enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

struct sc_watcher {
  sc_watcher *previous, *next;
  sc_call *call;
  bool known; /* the service it watches */
};

/* HealthCheckRequest {service = 1} */
static int service_field(void *into, const sc_field *f)
{
  if (sc_is_bytes(f, 1)) *(sc_str *)into = f->bytes;
  return 0;
}

static bool read_service(sc_str message, sc_str *out)
{
  *out = (sc_str){NULL, 0};
  return sc_read_message(message, service_field, out) == 0;
}

static bool is_known(const sc_health *health, sc_str service)
{
  return service.len == 0 || sc_str_eq(service, health->service);
}

static int reply(const sc_health *health, sc_call *call, bool known)
{
  uint8_t status = !known ? SERVICE_UNKNOWN : health->serving ? SERVING : NOT_SERVING;
  return sc_call_reply(call, (sc_str){(uint8_t[]){0x08, status}, 2});
}

static const sc_status unreadable = {SC_GRPC_INVALID_ARGUMENT, "not a HealthCheckRequest"};
static const sc_status no_memory = {SC_GRPC_RESOURCE_EXHAUSTED, "out of memory"};

static sc_status check(void *context, sc_call *call, sc_str message)
{
  sc_health *health = context;
  sc_str service;
  if (!read_service(message, &service)) return unreadable;
  if (!is_known(health, service)) return (sc_status){SC_GRPC_NOT_FOUND, "unknown service"};
  return reply(health, call, true) < 0 ? no_memory : SC_DONE;
}

static sc_status watch(void *context, sc_call *call, sc_str message)
{
  sc_health *health = context;
  sc_str service;
  if (!read_service(message, &service) || *sc_call_data(call)) return unreadable;
  sc_watcher *watcher = calloc(1, sizeof *watcher);
  if (!watcher) return no_memory;
  *watcher = (sc_watcher){.next = health->watchers, .call = call, .known = is_known(health, service)};
  if (watcher->next) watcher->next->previous = watcher;
  health->watchers = watcher;
  *sc_call_data(call) = watcher;
  return reply(health, call, watcher->known) < 0 ? no_memory : SC_GOES_ON;
}

static void unwatch(void *context, sc_call *call)
{
  sc_health *health = context;
  sc_watcher *watcher = *sc_call_data(call);
  if (!watcher) return;
  *(watcher->previous ? &watcher->previous->next : &health->watchers) = watcher->next;
  if (watcher->next) watcher->next->previous = watcher->previous;
  free(watcher);
}

void sc_health_set(sc_health *health, bool serving)
{
  if (health->serving == serving) return;
  health->serving = serving;
  for (sc_watcher *w = health->watchers; w; w = w->next)
    if (w->known && reply(health, w->call, true) < 0) sc_call_end(w->call, no_memory); /* better than a stale word */
}

void sc_health_methods(sc_health *health, sc_method out[SC_HEALTH_METHODS])
{
  out[0] = (sc_method){.path = SC_LITERAL("/grpc.health.v1.Health/Check"), .message = check, .context = health};
  out[1] = (sc_method){.path = SC_LITERAL("/grpc.health.v1.Health/Watch"),
                       .endless = true, .lingers = true, .message = watch, .closed = unwatch, .context = health};
}
