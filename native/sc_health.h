/* grpc.health.v1.Health (https://github.com/grpc/grpc/blob/master/doc/health-checking.md) on one thread. */
#ifndef SC_HEALTH_H
#define SC_HEALTH_H

#include "sc_call.h"

typedef struct sc_watcher sc_watcher;

/* Start from zeros. The services it knows: "" and `service`, which stand or fall together. */
typedef struct {
  sc_str service;
  bool serving;
  sc_watcher *watchers;
} sc_health;

enum { SC_HEALTH_METHODS = 2 };
void sc_health_methods(sc_health *health, sc_method out[SC_HEALTH_METHODS]);

/* Tells every watcher of a change. */
void sc_health_set(sc_health *health, bool serving);

#endif
